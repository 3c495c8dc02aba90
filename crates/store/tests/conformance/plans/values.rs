//! Values for a statement's parameters, told by the columns that they are compared with.

use std::collections::HashSet;

/// An account with a few rows in every table; so are called its row in each of them, and all that is unique there.
pub(super) const ORDINARY: &str = "r5";
/// The account with most events, tokens and sessions.
pub(super) const LARGE: &str = "r0";

/// Events happened at the milliseconds from 0 on, one each; this is a little before the last of them.
const RECENTLY: i64 = 999_900;

/// The statement with its `$n` replaced; `numbers` are the columns that hold some.
pub(super) fn fill_in(sql: &str, account: &str, numbers: &HashSet<String>) -> String {
    let mut text = String::new();
    let mut rest = sql;
    while let Some(place) = rest.find('$') {
        text += &rest[..place];
        let digits = rest[place + 1..].chars().take_while(char::is_ascii_digit).count();
        let number: usize = rest[place + 1..=place + digits].parse().unwrap();
        text += &value(sql, number, account, numbers);
        rest = &rest[place + 1 + digits..];
    }
    text + rest
}

fn value(sql: &str, number: usize, account: &str, numbers: &HashSet<String>) -> String {
    let parameter = format!("${number}");
    let places = sql.match_indices(&parameter).map(|(place, _)| place);
    let places: Vec<_> = places
        .filter(|place| !sql[place + parameter.len()..].starts_with(|next: char| next.is_ascii_digit()))
        .collect();
    // A comparison tells more than an assignment: one that is in a condition comes first.
    let condition = sql.find(" WHERE ").unwrap_or(usize::MAX);
    let place = places.iter().find(|&&place| place > condition).or(places.first()).copied().unwrap();
    if is_inserted(sql, place) {
        return inserted(sql, place, account, numbers);
    }
    if sql[place + parameter.len()..].starts_with(" AS BIGINT") {
        return RECENTLY.to_string();
    }
    let (column, operator) = compared(&sql[..place]);
    of_column(&column, &operator, account, numbers)
}

/// The column and the operator before the parameter.
fn compared(before: &str) -> (String, String) {
    let is_list = |right: &str| right.chars().all(|letter| letter.is_ascii_digit() || "$, ".contains(letter));
    // `(at, id) < ($2, $3)`
    for operator in ["<", "<=", ">", ">="] {
        if let Some((left, right)) = before.rsplit_once(&format!(") {operator} ("))
            && is_list(right)
        {
            let columns = left.rsplit_once('(').unwrap().1;
            let column = columns.split(", ").nth(right.matches(',').count()).unwrap();
            return (name(column), operator.to_owned());
        }
    }
    // `s.digest IN ($1, $2`
    if let Some((left, right)) = before.rsplit_once(" IN (")
        && is_list(right)
    {
        return (name(left.rsplit(' ').next().unwrap()), "=".to_owned());
    }
    let mut words = before.trim_end().rsplit(' ');
    let operator = words.next().unwrap_or_default().to_owned();
    if operator == "LIMIT" || operator == "OFFSET" {
        return (String::new(), operator);
    }
    (name(words.next().unwrap_or_default()), operator)
}

fn name(column: &str) -> String {
    let column = column.rsplit_once('.').map_or(column, |(_, column)| column);
    column.trim_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').to_owned()
}

fn is_inserted(sql: &str, place: usize) -> bool {
    let before = sql[..place].trim_end();
    sql.starts_with("INSERT INTO") && [",", "(", " SELECT"].iter().any(|end| before.ends_with(end))
}

fn inserted(sql: &str, place: usize, account: &str, numbers: &HashSet<String>) -> String {
    let (columns, _) = sql.split_once(") ").unwrap();
    let columns: Vec<_> = columns.split_once('(').unwrap().1.split(", ").collect();
    let start = sql.find("VALUES (").or_else(|| sql.find(") SELECT ").map(|place| place + 2)).unwrap();
    // There may be several rows.
    match columns[sql[start..place].matches(',').count() % columns.len()] {
        "user_id" | "token_id" | "pairing_id" => format!("'{account}'"),
        "id" | "digest" | "link_digest" | "credential" | "kid" | "identifier" | "subject" | "user_code" => {
            "'new'".to_owned()
        }
        column => of_column(column, "", account, numbers),
    }
}

fn of_column(column: &str, operator: &str, account: &str, numbers: &HashSet<String>) -> String {
    let text = match (column, operator) {
        (_, "OFFSET") => return "49".to_owned(),
        ("app_id", _) => "default",
        ("seal_key", _) => "present",
        ("type", _) => "token.created",
        ("provider", _) => "",
        ("purpose", _) => "sign_in",
        ("status", _) => "pending",
        ("at", "<") => return "999999999".to_owned(),
        ("at" | "created_at", _) => return RECENTLY.to_string(),
        // What is over has been removed but for a little.
        (_, "LIMIT") | ("expires_at" | "consumed_at" | "ends" | "retires_at" | "last_guess_at" | "last_at", "<") => {
            return "100".to_owned();
        }
        ("seq", ">") => return "998950".to_owned(),
        ("seq", _) => return "999999".to_owned(),
        (column, _) if numbers.contains(column) => return RECENTLY.to_string(),
        _ => account,
    };
    format!("'{text}'")
}
