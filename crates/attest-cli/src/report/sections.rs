//! The page's sections: what each asks of the database, and what it says about it.

/// A section, before its rows are read.
pub struct Wanted {
    pub id: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// What stands in place of a table without rows.
    pub none: &'static str,
    /// Its columns' names, and whether they are numbers.
    pub columns: &'static [(&'static str, bool)],
    /// A query with these columns; `$1` and `$2` are the period in seconds since the Unix epoch.
    pub sql: &'static str,
}

const TEXT: bool = false;
const NUMBER: bool = true;

/// The columns of changes, by whatever they are counted.
macro_rules! changes {
    ($by:literal, $order:literal) => {
        concat!(
            "SELECT grouped_by, inserts, updates, deletes, truncates, inserts + updates + deletes + truncates
             FROM audit.report_changes(to_timestamp($1), to_timestamp($2), '",
            $by,
            "') ORDER BY ",
            $order,
            ", 1"
        )
    };
}

macro_rules! counted {
    ($by:literal) => {
        &[
            ($by, TEXT),
            ("Inserted", NUMBER),
            ("Updated", NUMBER),
            ("Deleted", NUMBER),
            ("Truncated", NUMBER),
            ("Changes", NUMBER),
        ]
    };
}

/// In the order of the page.
pub const SECTIONS: [Wanted; 9] = [
    Wanted {
        id: "users",
        title: "Who changed data",
        about: "Users of the application where it named one, else users of the database; the most active first.",
        none: "Nobody changed anything.",
        columns: counted!("User"),
        sql: changes!("user", "6 DESC"),
    },
    Wanted {
        id: "tables",
        title: "Which tables changed",
        about: "The most changed first.",
        none: "No table changed.",
        columns: counted!("Table"),
        sql: changes!("table", "6 DESC"),
    },
    Wanted {
        id: "days",
        title: "Changes by day",
        about: "Days without changes are left out.",
        none: "No day had changes.",
        columns: counted!("Day"),
        sql: changes!("day", "1"),
    },
    Wanted {
        id: "privileged",
        title: "Privileged changes",
        about: "By superusers, by owners of the table, or outside the application: without a user of it. Roles are judged by what they are now.",
        none: "None.",
        columns: &[
            ("Connected as", TEXT),
            ("With the rights of", TEXT),
            ("Table", TEXT),
            ("Why it is listed", TEXT),
            ("Last", TEXT),
            ("Changes", NUMBER),
        ],
        sql: "SELECT session_user_name, effective_role, table_name,
                     concat_ws(', ', CASE WHEN by_superuser THEN 'superuser' END, CASE WHEN by_owner THEN 'owner' END,
                               CASE WHEN outside_application THEN 'outside the application' END),
                     date_trunc('second', last_at), changes
              FROM audit.report_privileged(to_timestamp($1), to_timestamp($2)) ORDER BY changes DESC, 1, 2, 3, 4",
    },
    Wanted {
        id: "reasons",
        title: "Changes without a reason",
        about: "Who changed which table without saying why. audit.attach(…, require => '{reason}') refuses such changes.",
        none: "Every change has its reason.",
        columns: &[
            ("Table", TEXT),
            ("User", TEXT),
            ("Last", TEXT),
            ("Changes", NUMBER),
            ("Without reason", NUMBER),
        ],
        sql: "SELECT table_name, actor, date_trunc('second', last_at), changes, without_reason
              FROM audit.report_reasons(to_timestamp($1), to_timestamp($2)) ORDER BY without_reason DESC, 1, 2",
    },
    Wanted {
        id: "ddl",
        title: "Structure, and the audit itself",
        about: "DDL on attached tables, and what was done to the audit: attached, detached, set, reviewed.",
        none: "Nothing of the kind.",
        columns: &[
            ("When", TEXT),
            ("User", TEXT),
            ("Act", TEXT),
            ("Table", TEXT),
            ("Command, reason", TEXT),
        ],
        sql: "SELECT date_trunc('second', occurred_at), concat_ws(' as ', session_user_name, app_user_id), action, table_name,
                     concat_ws(' · ', command, reason)
              FROM audit.report_ddl(to_timestamp($1), to_timestamp($2)) ORDER BY event_id",
    },
    Wanted {
        id: "reviews",
        title: "Reviews",
        about: "Sign-offs of periods that overlap this one, with the changes that the reviewer had before them.",
        none: "Nobody has signed a review of this period.",
        columns: &[
            ("Signed", TEXT),
            ("Reviewer", TEXT),
            ("Outcome", TEXT),
            ("Period", TEXT),
            ("Tables", TEXT),
            ("Remarks", TEXT),
            ("Changes seen", NUMBER),
        ],
        sql: "SELECT date_trunc('second', signed_at), reviewer, outcome, concat_ws(' to ', since, until),
                     coalesce(nullif(array_to_string(scope, ', '), ''), 'all'), remarks, changes
              FROM audit.sign_offs WHERE since < to_timestamp($2) AND until > to_timestamp($1) ORDER BY signed_at, event_id",
    },
    Wanted {
        id: "access",
        title: "Who could do what",
        about: "Who can read the log, and who could tamper with it, as it was when this page was made. What is not good is to be put right.",
        none: "",
        columns: &[
            ("What", TEXT),
            ("Who or how many", TEXT),
            ("Good", TEXT),
            ("Detail", TEXT),
        ],
        sql: "SELECT item, subject, CASE WHEN ok THEN 'yes' WHEN NOT ok THEN 'NO' ELSE 'judge' END, detail
              FROM audit.report_access_health() WHERE to_timestamp($1) < to_timestamp($2)",
    },
    Wanted {
        id: "health",
        title: "State of the audit",
        about: "audit.status() when this page was made.",
        none: "",
        columns: &[("What", TEXT), ("Value", TEXT), ("Good", TEXT), ("What to do", TEXT)],
        sql: "SELECT item, value, CASE WHEN ok THEN 'yes' ELSE 'NO' END, CASE WHEN NOT ok THEN hint END
              FROM audit.status() WHERE to_timestamp($1) < to_timestamp($2)",
    },
];
