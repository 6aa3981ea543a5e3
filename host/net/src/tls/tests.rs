use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::{
    ClientConnection, ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, ServerName},
};

use super::*;

/// A certificate and its key.
struct Made {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    parameters: CertificateParams,
}

fn parameters(names: &[&str], is_ca: bool) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    if is_ca {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    parameters
}

fn self_signed(parameters: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Made {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        key,
        parameters,
    }
}

fn signed_by(authority: Made, parameters: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(authority.parameters, authority.key);
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    Made {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        key,
        parameters,
    }
}

/// A handshake in memory between a client that trusts `ca_pem` and a server with this certificate, which
/// the client calls `name`.
fn handshake(ca_pem: &str, server: &Made, name: &str) -> Result<(), String> {
    let config = client_config(Some(ca_pem.as_bytes())).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let key = PrivateKeyDer::Pkcs8(server.key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der.clone()], key)
        .unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| {
                // As clients hand it over: inside an I/O error.
                explain(&std::io::Error::other(error)).unwrap()
            })?;
        }
    }
    Ok(())
}

fn refused(ca_pem: &str, server: &Made, name: &str, wanted: &[&str]) {
    let words = handshake(ca_pem, server, name).unwrap_err();
    for wanted in wanted {
        assert!(words.contains(wanted), "no {wanted:?} in {words}");
    }
}

#[test]
fn a_server_under_a_ca_is_trusted() {
    let authority = self_signed(parameters(&[], true));
    let ca_pem = authority.pem.clone();
    let server = signed_by(
        authority,
        parameters(&["broker.example", "192.0.2.1"], false),
    );
    handshake(&ca_pem, &server, "broker.example").unwrap();
    handshake(&ca_pem, &server, "192.0.2.1").unwrap();
    let mut stranger = parameters(&[], true);
    stranger.distinguished_name = rcgen::DistinguishedName::new();
    let stranger = self_signed(stranger);
    let words = ["not signed by a CA that is trusted here;", "self-signed"];
    refused(&stranger.pem, &server, "broker.example", &words);
    // A CA that was made anew has the old one's name.
    let anew = self_signed(parameters(&[], true));
    let words = ["though one has the same name", "as it is now"];
    refused(&anew.pem, &server, "broker.example", &words);
}

#[test]
fn what_openssl_makes_is_trusted_when_it_is_the_very_certificate() {
    for is_ca in [true, false] {
        let server = self_signed(parameters(&["localhost", "127.0.0.1"], is_ca));
        handshake(&server.pem, &server, "localhost").unwrap();
        handshake(&server.pem, &server, "127.0.0.1").unwrap();
        // Among others, too.
        let another = self_signed(parameters(&["localhost"], true));
        let both = format!("{}{}", another.pem, server.pem);
        handshake(&both, &server, "localhost").unwrap();
    }
}

#[test]
fn a_named_server_signs_for_no_other() {
    let mut of_server = parameters(&["registry.example"], false);
    of_server.is_ca = IsCa::ExplicitNoCa;
    let server = self_signed(of_server);
    handshake(&server.pem, &server, "registry.example").unwrap();
    let ca_pem = server.pem.clone();
    let another_ca = self_signed(parameters(&["localhost"], true));
    let both = format!("{ca_pem}{}", another_ca.pem);
    let forged = signed_by(server, parameters(&["broker.example"], false));
    for trusted in [ca_pem, both] {
        refused(&trusted, &forged, "broker.example", &["not signed by a CA"]);
    }
}

#[test]
fn another_certificate_of_a_ca_is_not_a_servers() {
    let server = self_signed(parameters(&["localhost"], true));
    let another = self_signed(parameters(&["localhost"], true));
    let words = [
        "CA:TRUE",
        "that very certificate",
        "openssl req -x509",
        "CA:FALSE",
    ];
    refused(&another.pem, &server, "localhost", &words);
    // Nor one that such a CA signed.
    let ca_pem = another.pem.clone();
    let server = signed_by(another, parameters(&["localhost"], true));
    refused(&ca_pem, &server, "localhost", &words);
}

#[test]
fn the_very_certificate_is_still_for_its_names_and_its_time() {
    let server = self_signed(parameters(&["localhost", "registry.example"], true));
    let words = [
        "localhost, registry.example",
        "not for elsewhere.example",
        "subjectAltName",
    ];
    refused(&server.pem, &server, "elsewhere.example", &words);
    refused(&server.pem, &server, "127.0.0.1", &["not for 127.0.0.1"]);

    // As `openssl req -x509 -subj /CN=localhost` leaves it.
    let nameless = self_signed(parameters(&[], true));
    let words = [
        "no subject alternative name",
        "for localhost",
        "openssl req",
    ];
    refused(&nameless.pem, &nameless, "localhost", &words);

    let mut expired = parameters(&["localhost"], true);
    expired.not_after = date_time_ymd(2001, 2, 3);
    let expired = self_signed(expired);
    let words = ["expired on 2001-02-03T00:00:00Z", "renew it", "clock"];
    refused(&expired.pem, &expired, "localhost", &words);

    let mut early = parameters(&["localhost"], true);
    early.not_before = date_time_ymd(2040, 1, 1);
    let early = self_signed(early);
    let words = ["valid from 2040-01-01T00:00:00Z on", "clock"];
    refused(&early.pem, &early, "localhost", &words);
}

#[test]
fn a_server_under_a_ca_is_told_the_same() {
    let ca = || self_signed(parameters(&[], true));
    let authority = ca();
    let ca_pem = authority.pem.clone();
    let server = signed_by(authority, parameters(&["broker.example"], false));
    refused(
        &ca_pem,
        &server,
        "localhost",
        &["is for broker.example and not for localhost"],
    );
    let authority = ca();
    let ca_pem = authority.pem.clone();
    let server = signed_by(authority, parameters(&[], false));
    refused(
        &ca_pem,
        &server,
        "localhost",
        &["no subject alternative name"],
    );
    let authority = ca();
    let ca_pem = authority.pem.clone();
    let mut expired = parameters(&["localhost"], false);
    expired.not_after = date_time_ymd(2001, 2, 3);
    refused(
        &ca_pem,
        &signed_by(authority, expired),
        "localhost",
        &["expired on 2001-02-03"],
    );
}

#[test]
fn a_port_without_tls_and_old_servers_are_named() {
    let config = client_config(None).or_else(|_| no_trust()).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    client
        .read_tls(&mut b"HTTP/1.1 400 Bad Request\r\n".as_slice())
        .unwrap();
    let error = client.process_new_packets().unwrap_err();
    assert!(
        explain(&error).unwrap().contains("does not speak TLS"),
        "{error}"
    );

    use rustls::AlertDescription as Alert;
    for (alert, wanted) in [
        (Alert::CertificateRequired, "client certificate"),
        (Alert::UnknownCA, "client certificate"),
        (Alert::ProtocolVersion, "TLS 1.3"),
    ] {
        let words = explain(&rustls::Error::AlertReceived(alert)).unwrap();
        assert!(words.contains(wanted), "{words}");
    }
    assert!(explain(&std::io::Error::other("nothing of TLS")).is_none());
}

#[test]
fn names_of_a_strange_certificate_are_cut() {
    let mut many = parameters(&[], true);
    many.subject_alt_names = (0..100)
        .map(|number| SanType::DnsName(format!("{number}.example").try_into().unwrap()))
        .collect();
    let server = self_signed(many);
    let words = handshake(&server.pem, &server, "localhost").unwrap_err();
    assert!(words.len() < 600, "{words}");
}

#[test]
fn refuses_a_ca_that_is_none() {
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        client_config(Some(pem.as_bytes())).unwrap_err();
        client_config_if_any(Some(pem.as_bytes())).unwrap_err();
    }
}

#[test]
fn a_machine_without_a_store_is_told_so() {
    let error = system_roots(&["/nonexistent/ca.crt"]).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
}
