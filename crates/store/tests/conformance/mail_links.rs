use domain::CodeVerifier;
use store::{CodePurpose, ExchangeOutcome, LinkSecret, MailLink, TradedLink};

use crate::database::{DAY, Database, MINUTE, NOW, client, digest};

const ANN: &str = "ann@example.com";

fn link(name: &str) -> MailLink {
    MailLink {
        digest: digest(&["link", ANN, name]),
        subject: ANN.to_owned(),
        asked_by: domain::ClientInfo { request_id: None, ..client("192.0.2.1") },
        challenge: Some("v".repeat(43).parse::<CodeVerifier>().unwrap().challenge()),
        asked_at: NOW,
        expires_at: NOW.plus(10 * MINUTE),
    }
}

pub(crate) async fn what_a_link_is_about_is_kept_and_goes(db: &Database) {
    for number in 0..3 {
        db.store.put_mail_link(&link(&number.to_string())).await.unwrap();
    }
    let found = db.other.find_mail_link(&link("1").digest).await.unwrap();
    assert_eq!(found, Some(link("1")));
    assert_eq!(db.store.find_mail_link(&link("9").digest).await.unwrap(), None);
    let nameless = MailLink { asked_by: domain::ClientInfo::default(), challenge: None, ..link("nameless") };
    db.store.put_mail_link(&nameless).await.unwrap();
    assert_eq!(db.store.find_mail_link(&nameless.digest).await.unwrap(), Some(nameless));
    assert_eq!(db.store.purge_mail_links(NOW.plus(10 * MINUTE), 9).await.unwrap(), 0);
    for purged in [3, 1, 0] {
        assert_eq!(db.store.purge_mail_links(NOW.plus(DAY), 3).await.unwrap(), purged);
    }
}

pub(crate) async fn a_links_challenge_goes_on_to_its_exchange_code(db: &Database) {
    // The database's codes have links of these digests.
    let about = link("123456");
    db.store.put_mail_link(&about).await.unwrap();
    db.put_code(ANN, "123456", NOW).await;
    let secret = LinkSecret { purpose: CodePurpose::SignInByEmail, digest: about.digest };
    let code = digest(&["exchange"]);
    let traded = db.store.trade_link(&secret, &code, NOW.plus(MINUTE), NOW).await.unwrap();
    assert_eq!(traded, TradedLink::Right(()));
    let template = db.redemption("", "", NOW).sign_in;
    let without = db.store.redeem_exchange_code(&code, None, &template).await.unwrap();
    assert_eq!(without, ExchangeOutcome::NotTheirs);
    assert_eq!(db.count_rows("sessions").await, 0);
}
