//! A mail server that keeps what it gets (RFC 5321, as far as a client needs it).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_parser::MessageParser;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the server does with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpBehaviour {
    /// Takes every mail.
    Accept,
    /// Refuses every recipient (550).
    Refuse,
    /// Answers nothing any more, not even a greeting.
    Hang,
}

/// A mail as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// `user:password` if the client signed in with AUTH PLAIN.
    pub login: Option<String>,
    /// The subject, decoded.
    pub subject: String,
    /// The text body, decoded.
    pub text: String,
    /// The HTML body, decoded.
    pub html: String,
    /// All of it as it was on the wire, less the dots that were stuffed.
    pub raw: String,
}

/// A listening server; it stops when it is dropped.
pub struct SmtpSink {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    connections: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

struct Shared {
    behaviour: SmtpBehaviour,
    mails: Vec<ReceivedMail>,
}

impl SmtpSink {
    /// Listens on a free port of this machine.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Mutex::new(Shared { behaviour: SmtpBehaviour::Accept, mails: Vec::new() }));
        let (count, connections) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), count));
        Self { address, shared, connections, accepting }
    }

    /// The server's URL, without a login.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for open connections too.
    pub fn behave(&self, behaviour: SmtpBehaviour) {
        lock(&self.shared).behaviour = behaviour;
    }

    /// The mails so far, oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<ReceivedMail> {
        lock(&self.shared).mails.clone()
    }

    /// Returns once somebody has connected.
    pub async fn connected(&self) {
        let mut connections = self.connections.clone();
        connections.wait_for(|&count| count > 0).await.expect("the server is listening");
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>, count: watch::Sender<usize>) {
    while let Ok((stream, _)) = listener.accept().await {
        count.send_modify(|count| *count += 1);
        let conversation = Conversation::new(Arc::clone(&shared));
        // A client that breaks off has nothing to be told.
        tokio::spawn(async move { conversation.hold(BufReader::new(stream)).await.unwrap_or_default() });
    }
}

/// The dialogue with one client.
struct Conversation {
    shared: Arc<Mutex<Shared>>,
    login: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl Conversation {
    const fn new(shared: Arc<Mutex<Shared>>) -> Self {
        Self { shared, login: None, from: None, to: Vec::new() }
    }

    async fn hold(mut self, mut stream: impl AsyncRead + AsyncWrite + AsyncBufReadExt + Unpin) -> std::io::Result<()> {
        self.say(&mut stream, "220 sink.example ESMTP").await?;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let command = line.trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "DATA" if !self.to.is_empty() => {
                    self.say(&mut stream, "354 go ahead").await?;
                    let raw = read_data(&mut stream).await?;
                    self.keep(raw);
                    "250 kept".to_owned()
                }
                "QUIT" => {
                    self.say(&mut stream, "221 bye").await?;
                    return Ok(());
                }
                _ => self.answer(&verb, &command),
            };
            self.say(&mut stream, &answer).await?;
        }
        Ok(())
    }

    fn answer(&mut self, verb: &str, command: &str) -> String {
        let behaviour = lock(&self.shared).behaviour;
        match verb {
            "EHLO" => {
                self.reset();
                "250-sink.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN".to_owned()
            }
            "HELO" | "RSET" => {
                self.reset();
                "250 sink.example".to_owned()
            }
            "NOOP" => "250 still here".to_owned(),
            "AUTH" => match plain_login(command) {
                Some(login) => {
                    self.login = Some(login);
                    "235 welcome".to_owned()
                }
                None => "504 only AUTH PLAIN with an initial response".to_owned(),
            },
            "MAIL" => {
                self.reset();
                self.from = Some(path(command));
                "250 go on".to_owned()
            }
            "RCPT" if self.from.is_none() => "503 MAIL first".to_owned(),
            "RCPT" if behaviour == SmtpBehaviour::Refuse => "550 nobody here takes mail".to_owned(),
            "RCPT" => {
                self.to.push(path(command));
                "250 go on".to_owned()
            }
            "DATA" => "503 RCPT first".to_owned(),
            _ => "500 what".to_owned(),
        }
    }

    async fn say(&self, stream: &mut (impl AsyncWrite + Unpin), answer: &str) -> std::io::Result<()> {
        if lock(&self.shared).behaviour == SmtpBehaviour::Hang {
            return std::future::pending().await;
        }
        stream.write_all(format!("{answer}\r\n").as_bytes()).await
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn keep(&mut self, raw: String) {
        let message = MessageParser::default().parse(&raw).expect("a mail that can be parsed");
        let mail = ReceivedMail {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            login: self.login.clone(),
            subject: message.subject().unwrap_or_default().to_owned(),
            text: message.body_text(0).unwrap_or_default().into_owned(),
            html: message.body_html(0).unwrap_or_default().into_owned(),
            raw,
        };
        lock(&self.shared).mails.push(mail);
    }
}

/// What stands between the angle brackets of `MAIL FROM:<…>` and `RCPT TO:<…>`.
fn path(command: &str) -> String {
    let path = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    path.map(|(path, _)| path).unwrap_or_default().to_owned()
}

/// `user:password` of `AUTH PLAIN <initial response>` (RFC 4616).
fn plain_login(command: &str) -> Option<String> {
    let mut words = command.split(' ').skip(1);
    let is_plain = words.next()?.eq_ignore_ascii_case("PLAIN");
    let response = String::from_utf8(BASE64.decode(words.next()?).ok()?).ok()?;
    let mut parts = response.split('\0').skip(1);
    is_plain.then_some(format!("{}:{}", parts.next()?, parts.next()?))
}

/// The mail's lines up to the lone dot, without the dots that were stuffed (RFC 5321 §4.5.2).
async fn read_data(stream: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<String> {
    let mut mail = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(mail);
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    /// Sends the lines and returns what was answered, the greeting included, until the server hung up.
    async fn dialogue(sink: &SmtpSink, lines: &str) -> String {
        let mut stream = TcpStream::connect(sink.address()).await.unwrap();
        stream.write_all(lines.replace('\n', "\r\n").as_bytes()).await.unwrap();
        let mut answers = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answers).await.unwrap();
        answers
    }

    #[tokio::test]
    async fn a_mail_arrives_unstuffed_and_decoded() {
        let sink = SmtpSink::start().await;
        let answers = dialogue(
            &sink,
            "EHLO me\nAUTH PLAIN AGFubgBwdw==\nMAIL FROM:<a@example.com>\nRCPT TO:<b@example.com>\nRCPT TO:<c@example.com>\n\
             DATA\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\n..one=20dot\n...\n=E2=82=AC=\n 5\n.\nNOOP\nQUIT\n",
        )
        .await;

        assert!(answers.ends_with("250 kept\r\n250 still here\r\n221 bye\r\n"), "{answers}");
        let mails = sink.mails();
        assert_eq!(mails.len(), 1);
        assert_eq!(
            (mails[0].from.as_str(), &mails[0].to[..]),
            ("a@example.com", &["b@example.com".into(), "c@example.com".into()][..])
        );
        assert_eq!(mails[0].login.as_deref(), Some("ann:pw"));
        assert_eq!(mails[0].subject, "Grüße");
        assert_eq!(mails[0].text.replace("\r\n", "\n").trim_end(), ".one dot\n..\n€ 5");
    }

    #[tokio::test]
    async fn commands_out_of_order_are_refused_and_rset_forgets() {
        let sink = SmtpSink::start().await;
        let answers = dialogue(
            &sink,
            "HELO me\nRCPT TO:<b@x.example>\nDATA\nMAIL FROM:<>\nRCPT TO:<b@x.example>\nRSET\nDATA\nWHAT\nQUIT\n",
        )
        .await;
        let codes: Vec<_> = answers.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "250", "503", "503", "250", "250", "250", "503", "500", "221"]);
        assert_eq!(sink.mails(), []);
    }

    #[tokio::test]
    async fn it_refuses_when_told_to() {
        let sink = SmtpSink::start().await;
        sink.behave(SmtpBehaviour::Refuse);
        let answers = dialogue(&sink, "EHLO me\nMAIL FROM:<a@x.example>\nRCPT TO:<b@x.example>\nDATA\nQUIT\n").await;
        assert!(answers.contains("550 ") && answers.contains("503 "), "{answers}");
        assert_eq!(sink.mails(), []);
    }
}
