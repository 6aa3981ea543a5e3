//! Client of the Confidential Containers key broker protocol 0.4.0.
