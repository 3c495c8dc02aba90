use crate::database::{Database, in_parallel};

pub(crate) async fn of_parallel_sms_no_more_than_the_cap_are_counted(db: &Database) {
    for day in 100..120 {
        let counted = in_parallel((0..12).map(|number| {
            let store = db.instance(number);
            async move { store.count_sms(day, 5).await.unwrap() }
        }))
        .await;
        assert_eq!(counted.into_iter().filter(|counted| *counted).count(), 5, "day {day}");
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM sms_days").await, 2, "older days are forgotten");
    assert!(db.store.count_sms(119, 6).await.unwrap(), "a raised cap counts on");
}
