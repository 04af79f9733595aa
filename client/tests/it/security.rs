//! TLS and logins: everything works through them as without, and each way they can fail has a
//! sentence of its own, at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reka_client::admin::NewTopic;
use reka_client::pool::Lane;
use reka_client::security::{
    Credentials, HostCheck, Identity, Sasl, Secret, Security, Tls, TlsSettings, Trust,
};
use reka_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, OffsetReset, Producer, ProducerConfig,
    ProducerRecord, Target, TopicPartition,
};
use reka_protocol::kafka_protocol::messages::MetadataRequest;

use crate::certificates::{Authority, Signed, self_signed, server};
use crate::gates::{behind_login, behind_tls};
use crate::server::{Server, create};

const PATIENCE: Duration = Duration::from_secs(60);

fn trust(pem: &str) -> TlsSettings {
    TlsSettings {
        trust: Trust::Pem {
            from: "the test".to_owned(),
            text: pem.to_owned(),
        },
        ..TlsSettings::default()
    }
}

fn identity(signed: &Signed) -> Option<Identity> {
    Some(Identity {
        from: "the test".to_owned(),
        chain: signed.certificate.clone(),
        key: Secret::new(signed.key.as_str()),
    })
}

fn secured(address: &str, security: Security) -> Client {
    let mut config = ClientConfig::new(address.parse().expect("an address"));
    config.security = security;
    Client::new(config)
}

fn by_tls(settings: &TlsSettings) -> Security {
    Security {
        tls: Some(Tls::new(settings).expect("usable")),
        sasl: None,
    }
}

fn by_password(password: &str) -> Security {
    Security {
        tls: None,
        sasl: Some(Sasl::Plain(Credentials::new("alice", password))),
    }
}

/// A topic is made, and what goes in comes out again: more than fits any buffer on the way.
async fn use_it(client: &Client, topic: &str) {
    create(client, &[NewTopic::new(topic)]).await;
    let config = ProducerConfig {
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    let mut deliveries = Vec::new();
    for number in 0..200_u8 {
        let record = ProducerRecord::new(topic).value(vec![number; 20_000]);
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    for delivery in deliveries {
        delivery.wait().await.expect("delivered");
    }
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign([TopicPartition::new(topic, 0)]);
    let mut next = 0;
    while next < 200 {
        let fetched = consumer.poll(PATIENCE).await.expect("records");
        for record in fetched.expect("as many as were sent").records {
            assert_eq!(record.value.as_deref(), Some(vec![next; 20_000].as_slice()));
            next += 1;
        }
    }
}

/// What comes of it where nothing can, and that it comes at once.
async fn refusal(client: &Client) -> String {
    let began = Instant::now();
    let error = client.describe_cluster().await.expect_err("no way in");
    assert!(error.is_security(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{error}");
    error.to_string()
}

#[tokio::test]
async fn everything_goes_through_tls_of_either_version() {
    let authority = Authority::new("ours");
    let gate = behind_tls(server(&authority.sign(&["127.0.0.1", "localhost"]), None)).await;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let mut settings = trust(&authority.pem);
        settings.versions = vec![version.to_owned()];
        let client = secured(&gate.address, by_tls(&settings));
        use_it(&client, version).await;
    }
}

/// As a key store of Java's has it that was exported as it is: nobody else has signed it.
#[tokio::test]
async fn a_certificate_that_is_itself_trusted_will_do() {
    let signed = self_signed("127.0.0.1");
    let gate = behind_tls(server(&signed, None)).await;
    let client = secured(&gate.address, by_tls(&trust(&signed.certificate)));
    client.describe_cluster().await.expect("a cluster");
    let others = self_signed("127.0.0.1");
    let client = secured(&gate.address, by_tls(&trust(&others.certificate)));
    let text = refusal(&client).await;
    assert!(text.contains("signed by nobody who is trusted"), "{text}");
}

#[tokio::test]
async fn certificates_that_are_not_right_are_refused_each_with_its_reason() {
    let authority = Authority::new("ours");
    let check = async |signed: &Signed, settings: TlsSettings, expected: &str| {
        let gate = behind_tls(server(signed, None)).await;
        let text = refusal(&secured(&gate.address, by_tls(&settings))).await;
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&gate.address), "{text}");
    };
    let right = authority.sign(&["127.0.0.1"]);
    let others = Authority::new("others");
    check(
        &right,
        trust(&others.pem),
        "signed by nobody who is trusted",
    )
    .await;
    let elsewhere = authority.sign(&["broker.example", "broker.test"]);
    let names = "for broker.example, broker.test and not for 127.0.0.1";
    check(&elsewhere, trust(&authority.pem), names).await;
    let old = authority.sign_expired(&["127.0.0.1"]);
    check(&old, trust(&authority.pem), "expired or is not good yet").await;

    // Without a look at the name the second will do, and the others still will not.
    let mut anywhere = trust(&authority.pem);
    anywhere.host = HostCheck::Off;
    let gate = behind_tls(server(&elsewhere, None)).await;
    let client = secured(&gate.address, by_tls(&anywhere));
    client.describe_cluster().await.expect("a cluster");
    check(&old, anywhere.clone(), "expired or is not good yet").await;
    let mut others = trust(&others.pem);
    others.host = HostCheck::Off;
    check(&right, others, "signed by nobody who is trusted").await;
}

#[tokio::test]
async fn a_broker_that_asks_who_the_client_is_gets_its_certificate() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let right = authority.sign(&["127.0.0.1"]);
    let gate = behind_tls(server(&right, Some(&clients))).await;
    let mut settings = trust(&authority.pem);
    settings.identity = identity(&clients.sign(&["alice"]));
    let client = secured(&gate.address, by_tls(&settings));
    client.describe_cluster().await.expect("a cluster");

    let stranger = secured(&gate.address, by_tls(&trust(&authority.pem)));
    let text = refusal(&stranger).await;
    assert!(
        text.contains("it wants a certificate of the client"),
        "{text}"
    );
    settings.identity = identity(&authority.sign(&["alice"]));
    let text = refusal(&secured(&gate.address, by_tls(&settings))).await;
    assert!(
        text.contains("it wants a certificate of the client"),
        "{text}"
    );
}

#[tokio::test]
async fn tls_to_a_plaintext_port_and_plaintext_to_a_tls_port_are_told_apart() {
    let authority = Authority::new("ours");
    let plain = Server::start_ours("127.0.0.1:0");
    let client = secured(plain.address(), by_tls(&trust(&authority.pem)));
    let error = client.reach().await.expect_err("no tls there").to_string();
    assert!(error.contains("is its port one without tls?"), "{error}");

    let gate = behind_tls(server(&authority.sign(&["127.0.0.1"]), None)).await;
    let text = refusal(&secured(&gate.address, Security::default())).await;
    assert!(text.contains("its port speaks tls: set"), "{text}");
}

#[tokio::test]
async fn logins_open_the_gate_and_those_that_fail_say_why_at_once() {
    let (gate, seen) = behind_login(None).await;
    use_it(&secured(&gate.address, by_password("opensesame")), "login").await;
    assert!(
        seen.logins.load(Ordering::Relaxed) >= 3,
        "each connection has one"
    );

    let text = refusal(&secured(&gate.address, by_password("wrong"))).await;
    let expected = "refused the login of user alice by PLAIN: Invalid username or password";
    assert!(text.contains(expected) && !text.contains("wrong"), "{text}");

    let scram = Security {
        tls: None,
        sasl: Some(Sasl::Scram(
            reka_client::security::Hash::Sha256,
            Credentials::new("alice", "opensesame"),
        )),
    };
    let text = refusal(&secured(&gate.address, scram)).await;
    let expected = "does not know sasl.mechanism=SCRAM-SHA-256; it knows PLAIN";
    assert!(text.contains(expected), "{text}");

    let text = refusal(&secured(&gate.address, Security::default())).await;
    assert!(text.contains("does it expect a login by sasl?"), "{text}");

    let open = Server::start_ours("127.0.0.1:0");
    let text = refusal(&secured(open.address(), by_password("opensesame"))).await;
    let expected = "it expects no login on this port: set security.protocol=PLAINTEXT";
    assert!(text.contains(expected), "{text}");
}

/// A login that ends is made again before it does, between requests that are under way: nobody comes
/// too late, and nothing is lost.
#[tokio::test]
async fn a_login_that_ends_is_made_again_before_it_does() {
    let (gate, seen) = behind_login(Some(Duration::from_millis(400))).await;
    let client = secured(&gate.address, by_password("opensesame"));
    create(&client, &[NewTopic::new("renewed")]).await;
    let producer = Producer::new(client.clone(), ProducerConfig::default()).expect("a producer");
    let began = Instant::now();
    let mut sent = 0;
    while seen.logins.load(Ordering::Relaxed) < 8 {
        assert!(began.elapsed() < PATIENCE, "it never logs in again");
        let record = ProducerRecord::new("renewed").value(sent.to_string());
        producer
            .send(record)
            .await
            .expect("taken")
            .wait()
            .await
            .expect("delivered");
        client.describe_cluster().await.expect("a cluster");
        sent += 1;
    }
    assert_eq!(seen.too_late.load(Ordering::Relaxed), 0);
}

/// Apache Kafka's secure ports, where the runner has opened them: a file of settings for each way in
/// that has to be one, and for each that must not a file with what has to be said.
#[tokio::test]
async fn apache_kafkas_ports_open_for_each_way_in_and_refuse_the_others() {
    let Some(dir) = std::env::var_os("REKA_TEST_SECURE") else {
        return;
    };
    let mut opened = 0;
    let mut refused = 0;
    for file in std::fs::read_dir(dir).expect("a folder") {
        let path = file.expect("a file").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let Some("properties") = path.extension().and_then(|end| end.to_str()) else {
            continue;
        };
        let settings = settings(&path);
        let security = Security::from_settings(&settings).expect("usable");
        let client = secured(&settings["bootstrap.servers"], security);
        match std::fs::read_to_string(path.with_extension("refused")) {
            Err(_) => {
                use_it(&client, &format!("secure-{name}")).await;
                // A login there is good for less: requests have to get through all the same.
                let began = Instant::now();
                while name == "renewed" && began.elapsed() < Duration::from_secs(5) {
                    let connection = client.connection(Target::Any, Lane::Control).await;
                    let connection = connection.expect("a connection");
                    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
                    connection
                        .call(9, &request)
                        .await
                        .expect("the same connection goes on");
                }
                opened += 1;
            }
            Ok(expected) => {
                let error = client.describe_cluster().await.expect_err(&name);
                let text = error.to_string();
                assert!(text.contains(expected.trim()), "{name}: {text}");
                refused += 1;
            }
        }
    }
    assert!(
        opened >= 6 && refused >= 6,
        "{opened} opened, {refused} refused"
    );
}

fn settings(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).expect("settings");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
