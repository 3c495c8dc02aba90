//! Mail by SMTP and by Resend's HTTP API, against servers that keep, refuse, hang and talk nonsense.

use std::sync::Arc;

use auth::{Mail, Mailer, Resend, Smtp};
use serde_json::{Value, json};
use testkit::{SmtpBehaviour, SmtpSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::world::World;

const FROM: &str = "Example <no-reply@example.com>";
const KEY: &str = "re_an_api_key";

fn smtp(sink: &SmtpSink) -> Smtp {
    Smtp::new(&sink.url().into(), FROM).unwrap()
}

fn mail() -> Mail {
    Mail {
        to: "ann@example.com".parse().unwrap(),
        subject: "Grüße".to_owned(),
        text: "Your code: 012345\n.\nEnd — of it".into(),
        html: "<p>Your code: <b>012345</b></p>".into(),
    }
}

/// Waits without waiting: from here on the runtime's clock jumps to the next timer whenever nothing else is to be done.
fn stop_the_clock() {
    tokio::time::pause();
}

#[tokio::test]
async fn a_code_arrives_by_smtp() {
    let sink = SmtpSink::start().await;
    let mailer: Arc<dyn Mailer> = Arc::new(smtp(&sink));
    let world = World::with(|setup| setup.mailer = Some(mailer)).await;
    world.request_code("Ann@Example.com").await.ok(200);

    let [mail] = &sink.mails()[..] else { panic!("one mail") };
    assert_eq!((mail.from.as_str(), &mail.to[..]), ("no-reply@example.com", &["ann@example.com".to_owned()][..]));
    assert!(mail.subject.ends_with(" is your code for Example"), "{}", mail.subject);
    let code = mail.text.lines().map(str::trim).find(|line| line.parse::<u32>().is_ok()).unwrap();
    assert!(mail.html.contains(code));
    assert!(mail.raw.contains("Message-ID:") && mail.raw.contains("Date:"), "{}", mail.raw);
    world.verify_code("ann@example.com", code).await.ok(200);
}

#[tokio::test]
async fn umlauts_and_lone_dots_survive_smtp() {
    let sink = SmtpSink::start().await;
    let mailer = smtp(&sink);
    for _ in 0..3 {
        mailer.send(mail()).await.unwrap();
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 3);
    assert_eq!(mails[0].subject, "Grüße");
    assert_eq!(mails[0].text.replace("\r\n", "\n").trim_end(), "Your code: 012345\n.\nEnd — of it");
    assert_eq!(mails[0].html.trim_end(), "<p>Your code: <b>012345</b></p>");
}

#[tokio::test]
async fn the_login_of_the_url_is_used() {
    let sink = SmtpSink::start().await;
    let url = sink.url().replace("smtp://", "smtp://ann:p%40ss@");
    Smtp::new(&url.into(), FROM).unwrap().send(mail()).await.unwrap();
    assert_eq!(sink.mails()[0].login.as_deref(), Some("ann:p@ss"));
}

#[tokio::test]
async fn a_refusal_by_smtp_is_an_error_that_holds_no_part_of_the_mail() {
    let sink = SmtpSink::start().await;
    sink.behave(SmtpBehaviour::Refuse);
    let error = smtp(&sink).send(mail()).await.unwrap_err().to_string();
    assert!(error.contains("550") || error.contains("nobody here takes mail"), "{error}");
    assert!(!error.contains("012345"), "{error}");
    assert_eq!(sink.mails(), []);
}

#[tokio::test]
async fn nobody_at_the_smtp_servers_address_is_an_error() {
    let nobody = format!("smtp://127.0.0.1:{}", testkit::free_port());
    Smtp::new(&nobody.into(), FROM).unwrap().send(mail()).await.unwrap_err();
}

#[tokio::test]
async fn an_smtp_server_that_hangs_is_given_up_on() {
    let sink = SmtpSink::start().await;
    sink.behave(SmtpBehaviour::Hang);
    let mailer = smtp(&sink);
    let sending = tokio::spawn(async move { mailer.send(mail()).await });
    sink.connected().await;
    stop_the_clock();
    sending.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_wrong_smtp_url_or_sender_is_named_without_the_password() {
    for url in ["", "mail.example.com", "http://ann:secret@mail.example.com", "smtp://"] {
        let problem = Smtp::new(&url.into(), FROM).err();
        assert!(problem.is_none_or(|problem| !problem.contains("secret")), "{url}");
    }
    assert!(Smtp::new(&"http://ann:secret@mail.example.com".into(), FROM).is_err());
    assert!(Smtp::new(&"smtp://mail.example.com".into(), "nobody").is_err());
}

/// An HTTP server that answers its first request with these bytes; what was asked is the task's result.
async fn answering(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (url, served)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "half a request");
    }
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn send_by_resend(answer: String) -> (Result<(), String>, String) {
    let (url, served) = answering(answer).await;
    let resend = Resend::new(&url, KEY.into(), FROM.to_owned()).unwrap();
    let outcome = resend.send(mail()).await.map_err(|error| error.to_string());
    (outcome, served.await.unwrap())
}

#[tokio::test]
async fn resend_gets_what_its_api_wants() {
    for status in ["200 OK", "201 Created", "202 Accepted"] {
        let (outcome, request) = send_by_resend(reply(status, r#"{"id":"1"}"#)).await;
        outcome.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /emails HTTP/1.1"), "{head}");
        assert!(head.to_lowercase().contains(&format!("authorization: bearer {KEY}")), "{head}");
        assert_eq!(
            serde_json::from_str::<Value>(body).unwrap(),
            json!({ "from": FROM, "to": ["ann@example.com"], "subject": "Grüße",
                    "text": "Your code: 012345\n.\nEnd — of it", "html": "<p>Your code: <b>012345</b></p>" })
        );
    }
}

#[tokio::test]
async fn whatever_else_resend_answers_is_an_error_that_tells_no_secret() {
    for answer in [
        reply("401 Unauthorized", r#"{"message":"API key is invalid"}"#),
        reply("429 Too Many Requests", ""),
        reply("500 Internal Server Error", "<html>"),
        reply("204 No Content", ""),
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/emails\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "220 this is no web server\r\n".to_owned(),
        String::new(),
    ] {
        let (outcome, _) = send_by_resend(answer.clone()).await;
        let error = outcome.expect_err(&answer);
        assert!(!error.contains(KEY) && !error.contains("012345") && !error.contains("ann@"), "{error}");
    }
}

#[tokio::test]
async fn an_api_that_hangs_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let resend =
        Resend::new(&format!("http://{}", listener.local_addr().unwrap()), KEY.into(), FROM.to_owned()).unwrap();
    let sending = tokio::spawn(async move { resend.send(mail()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await;
    stop_the_clock();
    sending.await.unwrap().unwrap_err();
}

#[test]
fn an_api_is_an_http_url() {
    for url in ["", "api.resend.com", "ftp://api.resend.com", "smtp://x"] {
        assert!(Resend::new(url, KEY.into(), FROM.to_owned()).is_err(), "{url}");
    }
    assert!(Resend::new(Resend::DEFAULT_API_URL, KEY.into(), FROM.to_owned()).is_ok());
}
