//! Lists: which part of them is asked for, and how the next part is found.
//!
//! In the order of their names entries are found again by the last name of the page before, so that what comes
//! or goes meanwhile neither repeats nor hides others. In any other order all entries are computed, and a
//! page begins at a number.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewheel_config::limits;
use tidewheel_consumer_groups::NamePattern;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::state::Admin;

/// Characters of a regular expression that names are looked through for.
const REGEX_LEN_MAX: usize = 256;

/// Which part of a list, and how.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Entries of a page, 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
    /// Only entries whose name contains this text, in any case.
    q: Option<String>,
    /// Only entries in whose name this regular expression, in the syntax of RE2, fits something; `^` and `$` stand for
    /// the ends of the name.
    #[param(max_length = 256)]
    regex: Option<String>,
    /// Field to sort by, with `-` before it in falling order; the name unless said otherwise.
    sort: Option<String>,
    /// Only these fields of each entry, with commas.
    fields: Option<String>,
    /// Whether to compute figures; `false` is faster.
    stats: Option<bool>,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The entries.
    pub(crate) items: Vec<T>,
    /// How many there are in all parts together.
    pub(crate) total: usize,
    /// Where the next part begins; null after the last one.
    pub(crate) next_cursor: Option<String>,
}

#[derive(Debug)]
enum Order {
    /// By name, after the given one.
    Name { after: Option<String> },
    /// By a field, from the given number on.
    Field {
        name: String,
        falls: bool,
        from: usize,
    },
}

/// A part of a list that was asked for in a way that makes sense.
#[derive(Debug)]
pub(crate) struct Listing {
    limit: usize,
    wanted: Option<String>,
    pattern: Option<NamePattern>,
    order: Order,
    fields: Option<Vec<String>>,
    /// Whether figures are wanted.
    pub(crate) stats: bool,
}

/// The entries that have to be computed for a page, by their names.
#[derive(Debug)]
pub(crate) struct Chosen<K> {
    pub(crate) keys: Vec<K>,
    total: usize,
    next_cursor: Option<String>,
}

impl Listing {
    /// Reads the query of a list whose entries are named by the field `name`. A regular expression is compiled
    /// beside the threads that serve connections: it may take a tenth of a second.
    pub(crate) async fn read(
        admin: &Admin,
        query: ListQuery,
        name: &'static str,
    ) -> Result<Self, Problem> {
        match query.regex {
            None => Self::new(query, name),
            Some(_) => admin.compute(move |_| Self::new(query, name)).await?,
        }
    }

    fn new(query: ListQuery, name: &str) -> Result<Self, Problem> {
        let limit = query.limit.unwrap_or(limits::ADMIN_PAGE_DEFAULT);
        if !(1..=limits::ADMIN_PAGE_MAX).contains(&limit) {
            let most = limits::ADMIN_PAGE_MAX;
            return Err(Problem::invalid(
                "?limit",
                format!("it must be from 1 to {most}"),
            ));
        }
        let fields = query.fields.map(|fields| {
            let fields = fields.split(',').filter(|field| !field.is_empty());
            fields.map(str::to_owned).collect()
        });
        let pattern = query.regex.as_deref().map(|regex| {
            let pattern = match regex.chars().nth(REGEX_LEN_MAX) {
                None => NamePattern::new(regex),
                Some(_) => None,
            };
            let detail = "it is no regular expression, or too large a one";
            pattern.ok_or_else(|| Problem::invalid("?regex", detail))
        });
        Ok(Self {
            limit,
            pattern: pattern.transpose()?,
            wanted: query.q.map(|wanted| wanted.to_lowercase()),
            order: order(query.sort.as_deref(), query.cursor.as_deref(), name)?,
            fields,
            stats: query.stats.unwrap_or(true),
        })
    }

    /// Chooses what has to be computed among all names, which come in their order.
    pub(crate) fn choose<K: AsRef<str>>(
        &self,
        keys: impl Iterator<Item = K>,
    ) -> Result<Chosen<K>, Problem> {
        let wanted = |key: &K| match &self.wanted {
            Some(wanted) => key.as_ref().to_lowercase().contains(wanted),
            None => true,
        };
        let fits = |key: &K| {
            let pattern = self.pattern.as_ref();
            pattern.is_none_or(|pattern| pattern.fits(key.as_ref()))
        };
        let mut keys: Vec<K> = keys.filter(wanted).filter(fits).collect();
        let total = keys.len();
        let mut next_cursor = None;
        match &self.order {
            Order::Name { after } => {
                if let Some(after) = after {
                    let read = keys.partition_point(|key| key.as_ref() <= after.as_str());
                    keys.drain(..read);
                }
                let more = keys.len() > self.limit;
                keys.truncate(self.limit);
                if more {
                    next_cursor = keys.last().map(|last| format!("k{}", last.as_ref()));
                }
            }
            Order::Field { .. } if total > limits::ADMIN_SORTED_MAX => {
                let most = limits::ADMIN_SORTED_MAX;
                let detail = format!("{total} entries are too many to sort: {most} at most, see q");
                return Err(Problem::invalid("?sort", detail));
            }
            Order::Field { .. } => {}
        }
        Ok(Chosen {
            keys,
            total,
            next_cursor,
        })
    }

    /// The page, of the entries that were computed for `chosen`, in its order; some may be gone by now.
    pub(crate) fn page<K, T: Serialize>(
        &self,
        chosen: &Chosen<K>,
        items: impl Iterator<Item = T>,
    ) -> Result<Page<Value>, Problem> {
        let items = items.map(|item| serde_json::to_value(item).unwrap_or_default());
        let mut items: Vec<Value> = items.collect();
        let mut next_cursor = chosen.next_cursor.clone();
        if let Order::Field { name, falls, from } = &self.order {
            if items.iter().any(|item| item.get(name).is_none()) {
                let detail = format!("entries have no field {name}");
                return Err(Problem::invalid("?sort", detail));
            }
            items.sort_by(|one, other| {
                let order = compare(&one[name.as_str()], &other[name.as_str()]);
                if *falls { order.reverse() } else { order }
            });
            let end = from.saturating_add(self.limit);
            next_cursor = (end < items.len()).then(|| format!("n{end}"));
            items = items.into_iter().skip(*from).take(self.limit).collect();
        }
        if let Some(fields) = &self.fields {
            for object in items.iter_mut().filter_map(Value::as_object_mut) {
                object.retain(|name, _| fields.contains(name));
            }
        }
        Ok(Page {
            items,
            total: chosen.total,
            next_cursor,
        })
    }
}

fn order(sort: Option<&str>, cursor: Option<&str>, name: &str) -> Result<Order, Problem> {
    let stale = || Problem::invalid("?cursor", "it does not belong to this list and order");
    let (field, falls) = match sort {
        Some(sort) => match sort.strip_prefix('-') {
            Some(field) => (field, true),
            None => (sort, false),
        },
        None => (name, false),
    };
    if field == name && !falls {
        let after = cursor.map(|cursor| cursor.strip_prefix('k').ok_or_else(stale));
        let after = after.transpose()?.map(str::to_owned);
        return Ok(Order::Name { after });
    }
    let from = match cursor {
        Some(cursor) => {
            let number = cursor.strip_prefix('n').and_then(|from| from.parse().ok());
            number.ok_or_else(stale)?
        }
        None => 0,
    };
    Ok(Order::Field {
        name: field.to_owned(),
        falls,
        from,
    })
}

/// Nothing first, then numbers, then texts.
fn compare(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one
                .as_f64()
                .unwrap_or(0.0)
                .total_cmp(&other.as_f64().unwrap_or(0.0)),
        },
        (Value::String(one), Value::String(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMES: [&str; 5] = ["a", "b", "bb", "c", "d"];

    fn all(query: &ListQuery) -> Result<Vec<Vec<Value>>, Problem> {
        let mut pages = Vec::new();
        let mut query = query.clone();
        loop {
            let listing = Listing::new(query.clone(), "name")?;
            let chosen = listing.choose(NAMES.into_iter())?;
            let items = chosen.keys.clone().into_iter();
            let items = items.map(|name| json!({"name": name, "size": -(name.len() as i64)}));
            let page = listing.page(&chosen, items)?;
            pages.push(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                return Ok(pages);
            }
        }
    }

    fn names(pages: &[Vec<Value>]) -> Vec<&str> {
        let names = pages.iter().flatten();
        names.filter_map(|item| item["name"].as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_in_any_order() {
        let mut query = ListQuery {
            limit: Some(2),
            ..ListQuery::default()
        };
        let pages = all(&query).unwrap();
        assert_eq!((pages.len(), names(&pages)), (3, NAMES.to_vec()));
        query.sort = Some("-name".to_owned());
        assert_eq!(names(&all(&query).unwrap()), ["d", "c", "bb", "b", "a"]);
        query.sort = Some("size".to_owned());
        assert_eq!(names(&all(&query).unwrap()), ["bb", "a", "b", "c", "d"]);
        query.q = Some("B".to_owned());
        assert_eq!(names(&all(&query).unwrap()), ["bb", "b"]);
        query.regex = Some("^b$|c".to_owned());
        assert_eq!(names(&all(&query).unwrap()), ["b"]);
        query.q = None;
        assert_eq!(names(&all(&query).unwrap()), ["b", "c"]);
        query.regex = Some(r"\Qb".to_owned());
        assert_eq!(names(&all(&query).unwrap()), ["bb", "b"]);
        (query.q, query.regex) = (Some("B".to_owned()), None);
        query.fields = Some("size".to_owned());
        assert_eq!(all(&query).unwrap()[0][0], json!({"size": -2}));
    }

    #[test]
    fn an_entry_that_goes_between_two_pages_hides_no_other() {
        let query = ListQuery {
            limit: Some(2),
            cursor: Some("kb".to_owned()),
            ..ListQuery::default()
        };
        let listing = Listing::new(query, "name").unwrap();
        let chosen = listing.choose(["a", "c", "d"].into_iter()).unwrap();
        assert_eq!(chosen.keys, ["c", "d"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let with = |change: fn(&mut ListQuery)| {
            let mut query = ListQuery::default();
            change(&mut query);
            all(&query).is_err()
        };
        assert!(with(|query| query.limit = Some(0)));
        assert!(with(|query| query.limit = Some(1_001)));
        for regex in ["(", "a)(b", "*", "x{1000}{1000}", &"x".repeat(257)] {
            let query = ListQuery {
                regex: Some(regex.to_owned()),
                ..ListQuery::default()
            };
            assert!(all(&query).is_err(), "{regex}");
        }
        assert!(with(|query| query.cursor = Some("x".to_owned())));
        assert!(with(|query| query.cursor = Some("n1".to_owned())));
        assert!(with(|query| query.sort = Some("color".to_owned())));
        assert!(with(|query| query.sort = Some(String::new())));
    }
}
