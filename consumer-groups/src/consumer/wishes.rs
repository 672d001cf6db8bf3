//! What the members of a group want: sets of names, each once, and the topics that they stand for. A name is looked
//! up once for each version of the topics, so that a member that comes or goes costs what it brings, whatever others
//! want.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::records::consumer::Names;
use crate::topics::{TopicInfo, Topics};

/// Topics that there are, ordered by id.
pub(super) type Wanted = Arc<[TopicInfo]>;

/// Those of the names that there are.
pub(super) fn look_up(names: &Names, topics: &dyn Topics) -> Wanted {
    let mut found: Vec<TopicInfo> = names.iter().filter_map(|n| topics.topic(n)).collect();
    found.sort_unstable_by_key(|topic| topic.id);
    found.into()
}

/// Says which of the sets of a group it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WishId(u64);

#[derive(Debug)]
struct Wish {
    names: Arc<Names>,
    users: usize,
    /// What they stand for, by the topics of this version. [`super::group::member_bytes`] has room for it.
    found: RefCell<Option<(u64, Wanted)>>,
}

/// The sets of a group.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    wishes: BTreeMap<WishId, Wish>,
    /// Those that members name, so that members who name the same share it.
    named: BTreeMap<Arc<Names>, WishId>,
    last: u64,
}

impl Wishes {
    /// One more member names these.
    pub(super) fn name(&mut self, names: &Arc<Names>) -> Option<WishId> {
        if names.is_empty() {
            return None;
        }
        if let Some(&id) = self.named.get(names) {
            if let Some(wish) = self.wishes.get_mut(&id) {
                wish.users += 1;
            }
            return Some(id);
        }
        let id = self.add(names);
        self.named.insert(Arc::clone(names), id);
        Some(id)
    }

    /// A set of its own, that nobody else finds: what a regular expression stands for.
    pub(super) fn add(&mut self, names: &Arc<Names>) -> WishId {
        self.last += 1;
        let id = WishId(self.last);
        let wish = Wish {
            names: Arc::clone(names),
            users: 1,
            found: RefCell::default(),
        };
        self.wishes.insert(id, wish);
        id
    }

    /// One user of the set is gone.
    pub(super) fn leave(&mut self, id: WishId) {
        let Some(wish) = self.wishes.get_mut(&id) else {
            return;
        };
        wish.users -= 1;
        if wish.users > 0 {
            return;
        }
        if let Some(wish) = self.wishes.remove(&id)
            && self.named.get(&wish.names) == Some(&id)
        {
            self.named.remove(&wish.names);
        }
    }

    /// The set that members name as this.
    pub(super) fn find(&self, names: &Names) -> Option<WishId> {
        self.named.get(names).copied()
    }

    /// What the set stands for.
    pub(super) fn wanted(&self, id: WishId, topics: &dyn Topics) -> Wanted {
        let Some(wish) = self.wishes.get(&id) else {
            return Wanted::default();
        };
        let mut found = wish.found.borrow_mut();
        match &*found {
            Some((version, wanted)) if *version == topics.version() => Arc::clone(wanted),
            _ => {
                let wanted = look_up(&wish.names, topics);
                *found = Some((topics.version(), Arc::clone(&wanted)));
                wanted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_who_name_the_same_share_it_until_the_last_has_left() {
        let names = |names: &[&str]| Arc::new(names.iter().map(|&name| name.into()).collect());
        let mut wishes = Wishes::default();
        let (one, other) = (names(&["a", "b"]), names(&["a"]));
        let first = wishes.name(&one).unwrap();
        assert_eq!(wishes.name(&names(&["b", "a"])), Some(first));
        let second = wishes.name(&other).unwrap();
        let alone = wishes.add(&one);
        assert!(first != second && alone != first);
        assert_eq!(wishes.find(&one), Some(first));
        wishes.leave(first);
        wishes.leave(alone);
        assert_eq!(wishes.find(&one), Some(first));
        wishes.leave(first);
        assert_eq!(wishes.find(&one), None);
        wishes.leave(second);
        assert!(wishes.wishes.is_empty() && wishes.named.is_empty());
        assert_eq!(wishes.name(&names(&[])), None);
    }
}
