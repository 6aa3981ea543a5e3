//! The types whose text is this host's: the whole list, each with its reason.
//!
//! Whoever adds a line here says that no stranger's words, and nothing of a component's insides, can be in
//! what the type displays.

use proplet_hal::TeeName;
use proplet_image::ImageError;
use proplet_runtime::RuntimeError;
use proplet_types::ImageKeyTypes;

use crate::{
    binding::Binding,
    refusal::Refusal,
    text::{HostText, InClear, Known, sealed::Sealed},
};

macro_rules! in_clear {
    ($($(#[doc = $why:literal])* $kind:ty;)*) => {
        $($(#[doc = $why])* impl InClear for $kind {} impl Sealed for $kind {})*
    };
}

in_clear! {
    /// A number says no more than the sentence that it stands in.
    u16;
    /// A number.
    u32;
    /// A number.
    u64;
    /// A number.
    usize;
    HostText;
    /// Host text with a code.
    Refusal;
    /// What the hardware is.
    TeeName;
    /// What the TEE was started with, in fixed words or its driver's.
    Binding;
    /// Names of resource types, from the settings.
    ImageKeyTypes;
    /// Its words are about the image's public part (manifest, annotations, registry), as its documentation
    /// promises; what is inside an encrypted layer is described by kind only.
    ImageError;
    /// Displays the host's words only; what the guest said is in its detail.
    RuntimeError;
    /// Whose it is, is said where it is made.
    Known;
}
