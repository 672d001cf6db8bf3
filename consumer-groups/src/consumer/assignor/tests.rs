use super::*;

/// A member: its id, its instance id, and the topics it wants.
type Who<'a> = (&'a str, Option<&'a str>, &'a [usize]);

fn topics(partitions: &[i32]) -> Vec<SubscribedTopic> {
    let topic = |(number, &partitions): (u8, &i32)| SubscribedTopic {
        id: Uuid([number; 16]),
        partitions,
    };
    (1..).zip(partitions).map(topic).collect()
}

fn run(
    assignor: Assignor,
    who: &[Who],
    partitions: &[i32],
    before: &[BTreeSet<TopicIdPartition>],
) -> Vec<BTreeSet<TopicIdPartition>> {
    let names: Vec<(Arc<str>, Option<Arc<str>>)> = who
        .iter()
        .map(|(id, instance, _)| ((*id).into(), instance.map(Arc::from)))
        .collect();
    let members: Vec<Subscriber> = who
        .iter()
        .zip(&names)
        .enumerate()
        .map(
            |(index, ((_, _, topics), (member_id, instance_id)))| Subscriber {
                member_id,
                instance_id: instance_id.as_ref(),
                topics,
                before: before.get(index),
            },
        )
        .collect();
    let topics = topics(partitions);
    let assigned = assignor.assign(&members, &topics);
    check(&members, &topics, &assigned);
    assigned
}

/// Everything that anybody wants is given out once, to somebody who wants it.
fn check(
    members: &[Subscriber],
    topics: &[SubscribedTopic],
    assigned: &[BTreeSet<TopicIdPartition>],
) {
    let mut given = BTreeSet::new();
    for (member, partitions) in members.iter().zip(assigned) {
        for partition in partitions {
            let topic = topics
                .iter()
                .position(|topic| topic.id == partition.topic_id);
            assert!(member.topics.contains(&topic.unwrap()));
            assert!(given.insert(*partition), "{partition:?} is given twice");
        }
    }
    let wanted = |topic: &usize| members.iter().any(|member| member.topics.contains(topic));
    let wanted = (0..topics.len()).filter(wanted);
    let all: i32 = wanted.map(|topic| topics[topic].partitions).sum();
    assert_eq!(given.len(), usize::try_from(all).unwrap());
}

fn counts(assigned: &[BTreeSet<TopicIdPartition>]) -> Vec<usize> {
    assigned.iter().map(BTreeSet::len).collect()
}

fn moved(before: &[BTreeSet<TopicIdPartition>], after: &[BTreeSet<TopicIdPartition>]) -> usize {
    let gone = |(before, after): (&BTreeSet<_>, &BTreeSet<_>)| before.difference(after).count();
    before.iter().zip(after).map(gone).sum()
}

/// Topic and partition, as `1-0`.
fn names(partitions: &BTreeSet<TopicIdPartition>) -> Vec<String> {
    let name = |p: &TopicIdPartition| format!("{}-{}", p.topic_id.0[0], p.partition);
    partitions.iter().map(name).collect()
}

#[test]
fn ranges_are_the_same_numbers_of_equal_topics_and_static_members_come_first() {
    let who: [Who; 3] = [
        ("a", None, &[0, 1]),
        ("b", Some("z"), &[0, 1]),
        ("c", Some("y"), &[0, 1]),
    ];
    let assigned = run(Assignor::Range, &who, &[4, 4], &[]);
    assert_eq!(names(&assigned[2]), ["1-0", "1-1", "2-0", "2-1"]);
    assert_eq!(names(&assigned[1]), ["1-2", "2-2"]);
    assert_eq!(names(&assigned[0]), ["1-3", "2-3"]);
}

#[test]
fn ranges_of_different_subscriptions() {
    let who: [Who; 3] = [("a", None, &[0]), ("b", None, &[0, 1]), ("c", None, &[])];
    let assigned = run(Assignor::Range, &who, &[3, 2], &[]);
    assert_eq!(names(&assigned[0]), ["1-0", "1-1"]);
    assert_eq!(names(&assigned[1]), ["1-2", "2-0", "2-1"]);
    // More members than partitions: the last get nothing.
    let who: [Who; 3] = [("a", None, &[0]), ("b", None, &[0]), ("c", None, &[0])];
    assert_eq!(counts(&run(Assignor::Range, &who, &[2], &[])), [1, 1, 0]);
}

#[test]
fn uniform_shares_differ_by_one_at_most_and_few_partitions_move() {
    let all: &[usize] = &[0, 1];
    let two: [Who; 2] = [("a", None, all), ("b", None, all)];
    let before = run(Assignor::Uniform, &two, &[5, 4], &[]);
    assert_eq!(counts(&before), [5, 4]);
    assert_eq!(run(Assignor::Uniform, &two, &[5, 4], &before), before);
    let three: [Who; 3] = [("a", None, all), ("b", None, all), ("c", None, all)];
    let after = run(Assignor::Uniform, &three, &[5, 4], &before);
    assert_eq!(counts(&after), [3, 3, 3]);
    assert_eq!(moved(&before, &after), 3);
    // A member goes: nobody else gives anything up.
    let rest = run(Assignor::Uniform, &two, &[5, 4], &after[..2]);
    assert_eq!(moved(&after[..2], &rest), 0);
    // A topic grows.
    let grown = run(Assignor::Uniform, &three, &[5, 7], &after);
    assert_eq!((counts(&grown), moved(&after, &grown)), (vec![4, 4, 4], 0));
}

/// What two members say that they had goes to one of them.
#[test]
fn uniform_gives_nothing_twice_whatever_was_before() {
    let before: BTreeSet<TopicIdPartition> = [0, 1, 9]
        .map(|partition| TopicIdPartition {
            topic_id: Uuid([1; 16]),
            partition,
        })
        .into();
    let who: [Who; 2] = [("a", None, &[0]), ("b", None, &[0])];
    run(Assignor::Uniform, &who, &[2], &[before.clone(), before]);
}

#[test]
fn uniform_evens_out_different_subscriptions() {
    let who: [Who; 3] = [("a", None, &[0]), ("b", None, &[0, 1]), ("c", None, &[1])];
    let assigned = run(Assignor::Uniform, &who, &[6, 3], &[]);
    assert_eq!(counts(&assigned), [3, 3, 3]);
    assert_eq!(run(Assignor::Uniform, &who, &[6, 3], &assigned), assigned);
    // Along a chain: c is relieved as far as b has less than c, which in turn is relieved by a.
    let who: [Who; 3] = [("a", None, &[0]), ("b", None, &[0, 1]), ("c", None, &[1])];
    let all_of = |topic: u8, count: i32| -> BTreeSet<TopicIdPartition> {
        let named = |partition| TopicIdPartition {
            topic_id: Uuid([topic; 16]),
            partition,
        };
        (0..count).map(named).collect()
    };
    let before = [BTreeSet::new(), all_of(1, 4), all_of(2, 8)];
    let after = run(Assignor::Uniform, &who, &[4, 8], &before);
    assert_eq!(counts(&after), [3, 4, 5]);
}

#[test]
fn large_groups_take_little_time() {
    let names: Vec<String> = (0..1_000).map(|number| format!("m{number:04}")).collect();
    let subscriptions: Vec<Vec<usize>> = (0..1_000)
        .map(|number| (0..20).filter(|topic| (number + topic) % 3 > 0).collect())
        .collect();
    let who: Vec<Who> = names
        .iter()
        .zip(&subscriptions)
        .map(|(name, topics)| (name.as_str(), None, &topics[..]))
        .collect();
    let before = run(Assignor::Uniform, &who, &[100; 20], &[]);
    let (least, most) = (
        counts(&before).into_iter().min(),
        counts(&before).into_iter().max(),
    );
    assert_eq!((least, most), (Some(2), Some(2)));
    let after = run(Assignor::Uniform, &who[1..], &[100; 20], &before[1..]);
    assert!(moved(&before[1..], &after) <= 4);
}
