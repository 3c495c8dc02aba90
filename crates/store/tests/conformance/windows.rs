use std::time::Duration;

use domain::Timestamp;
use store::{StoredWindow, WindowRun};

use crate::database::{Database, MINUTE, NOW, in_parallel};

fn window(name: &str, run: i64, last: Timestamp, count: u32) -> StoredWindow {
    let buckets = vec![(last.minus(Duration::from_secs(2)), 7), (last, count)];
    StoredWindow { name: name.to_owned(), run, length: MINUTE, unseen: 3, buckets }
}

async fn begin(db: &Database, at: Timestamp) -> Vec<WindowRun> {
    db.store.begin_window_run(at, at).await.unwrap()
}

/// Whether each run came after a kill, by its number.
fn kills(runs: &[WindowRun]) -> Vec<(i64, bool)> {
    runs.iter().map(|run| (run.number, run.is_after_kill)).collect()
}

pub(crate) async fn a_run_knows_whether_the_one_before_ended_in_order(db: &Database) {
    assert_eq!(kills(&begin(db, NOW).await), [(1, false)], "nothing can be lost before the first");
    db.store.end_window_run(1).await.unwrap();
    assert_eq!(kills(&begin(db, NOW).await), [(1, false), (2, false)]);
    assert_eq!(kills(&begin(db, NOW).await).last(), Some(&(3, true)));
    assert_eq!(kills(&begin(db, NOW).await), [(3, true), (4, true)], "without windows, only kills are remembered");
    db.store.end_window_run(4).await.unwrap();
    assert_eq!(kills(&begin(db, NOW).await), [(3, true), (4, true), (5, false)]);
}

pub(crate) async fn twenty_kills_are_remembered_and_runs_with_windows(db: &Database) {
    begin(db, NOW).await;
    db.store.save_windows("credentials", &[window("pat:a", 1, NOW, 1)]).await.unwrap();
    for start in 2..=60 {
        let runs = begin(db, NOW.plus(start * MINUTE)).await;
        assert_eq!(runs[0].number, 1, "its windows are there");
        assert!(runs.len() <= 23, "{}", runs.len());
    }
    let runs = begin(db, NOW).await;
    let remembered: Vec<_> = runs.iter().filter(|run| run.is_after_kill).map(|run| run.number).collect();
    assert!(remembered.ends_with(&(42..=61).collect::<Vec<_>>()), "{remembered:?}");
    db.store.purge_windows(1, NOW.plus(61 * MINUTE), 10).await.unwrap();
    begin(db, NOW).await;
    assert_eq!(begin(db, NOW).await[0].number, 43, "and goes when they have");
}

pub(crate) async fn runs_that_begin_at_once_have_numbers_of_their_own(db: &Database) {
    for round in 1..=10 {
        let starting = (0..4).map(|number| {
            let store = db.instance(number);
            async move { store.begin_window_run(NOW, NOW).await.unwrap().last().unwrap().number }
        });
        let mut numbers = in_parallel(starting).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (round * 4 - 3..=round * 4).collect::<Vec<_>>());
    }
}

pub(crate) async fn saved_windows_come_back_page_by_page(db: &Database) {
    begin(db, NOW).await;
    let mut windows: Vec<_> = (0..201).map(|n| window(&format!("pat:{n:03}"), 1, NOW, n)).collect();
    db.store.save_windows("credentials", &windows).await.unwrap();
    db.store.save_windows("users", &windows[..9]).await.unwrap();
    windows[4] = window("pat:004", 1, NOW.plus(MINUTE), 99);
    db.store.save_windows("credentials", &windows[4..5]).await.unwrap();
    db.store.save_windows("credentials", &[]).await.unwrap();

    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = db.other.saved_windows("credentials", &after, 50).await.unwrap();
        assert!(page.len() <= 50);
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        found.extend(page);
    }
    assert_eq!(found, windows);
    assert_eq!(db.store.saved_windows("users", "", 50).await.unwrap().len(), 9);
    assert_eq!(db.store.saved_windows("strangers", "", 50).await.unwrap(), []);
}

/// Two processes that should not both be there: whoever began earlier does not undo what the later one counts.
pub(crate) async fn an_earlier_run_saves_over_nothing_of_a_later_one(db: &Database) {
    begin(db, NOW).await;
    begin(db, NOW).await;
    db.store.save_windows("credentials", &[window("pat:a", 2, NOW, 90)]).await.unwrap();
    db.other.save_windows("credentials", &[window("pat:a", 1, NOW, 5), window("pat:b", 1, NOW, 5)]).await.unwrap();
    let found = db.store.saved_windows("credentials", "", 9).await.unwrap();
    assert_eq!(found, [window("pat:a", 2, NOW, 90), window("pat:b", 1, NOW, 5)]);
}

pub(crate) async fn setting_the_clock_moves_every_run_and_once(db: &Database) {
    begin(db, NOW).await;
    db.store.save_windows("credentials", &[window("pat:a", 1, NOW, 5)]).await.unwrap();
    begin(db, NOW).await;
    for _ in 0..2 {
        db.store.set_window_clock(2, 3_600_000).await.unwrap();
    }
    let ahead = |runs: Vec<WindowRun>| runs.iter().map(|run| run.wall_ahead).collect::<Vec<_>>();
    assert_eq!(ahead(begin(db, NOW).await), [3_600_000, 3_600_000, 0]);
    db.store.set_window_clock(3, -1_000).await.unwrap();
    assert_eq!(ahead(begin(db, NOW).await)[..3], [3_599_000, 3_599_000, -1_000]);
}

pub(crate) async fn windows_that_are_over_go_in_batches(db: &Database) {
    begin(db, NOW).await;
    let windows: Vec<_> = (0..5).map(|n| window(&format!("pat:{n}"), 1, NOW.plus(n * MINUTE), 1)).collect();
    db.store.save_windows("credentials", &windows).await.unwrap();
    begin(db, NOW).await;
    db.store.save_windows("credentials", &[window("pat:of another run", 2, NOW, 1)]).await.unwrap();
    let over = NOW.plus(4 * MINUTE).plus(Duration::from_millis(1));
    for purged in [2, 2, 0] {
        assert_eq!(db.store.purge_windows(1, over, 2).await.unwrap(), purged);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM windows").await, 2);
}

pub(crate) async fn parallel_saves_of_the_same_windows_do_not_wait_for_each_other(db: &Database) {
    begin(db, NOW).await;
    for round in 0..20 {
        let saves = (0..6).map(|number| {
            let store = db.instance(number);
            let mut windows: Vec<_> = (0..40).map(|n| window(&format!("pat:{n}"), 1, NOW, round)).collect();
            if number % 2 == 0 {
                windows.reverse();
            }
            async move { store.save_windows("credentials", &windows).await }
        });
        for saved in in_parallel(saves).await {
            saved.unwrap();
        }
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM windows").await, 40);
}
