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
    let members = who.iter().zip(&names).enumerate();
    let members = members.map(|(index, (_, (member_id, instance_id)))| Subscriber {
        member_id,
        instance_id: instance_id.as_ref(),
        wishes: [Some(index), None],
        before: before.get(index),
    });
    let demand = Demand {
        members: members.collect(),
        topics: topics(partitions),
        wishes: who.iter().map(|(.., topics)| topics.to_vec()).collect(),
    };
    let assigned = assignor.assign(&demand);
    check(&demand, &assigned);
    assigned
}

/// Everything that anybody wants is given out once, to somebody who wants it.
fn check(demand: &Demand, assigned: &[BTreeSet<TopicIdPartition>]) {
    let mut given = BTreeSet::new();
    for (member, partitions) in demand.members.iter().zip(assigned) {
        for partition in partitions {
            let topic = demand.position(partition.topic_id).unwrap();
            assert!(demand.wants(member, topic));
            assert!(given.insert(*partition), "{partition:?} is given twice");
        }
    }
    let wished = demand.members.iter().flat_map(|member| member.wishes);
    let wished = wished.flatten().flat_map(|wish| &demand.wishes[wish]);
    let wanted: BTreeSet<&usize> = wished.collect();
    let all: i32 = wanted
        .iter()
        .map(|&&topic| demand.topics[topic].partitions)
        .sum();
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

/// Many members with many topics each share few wishes: the product of both is not looked at, however little may be.
#[test]
fn what_everybody_wants_in_several_ways_costs_no_product() {
    let (members, topics) = (2_000, 2_000);
    let ids: Vec<Arc<str>> = (0..members).map(|n| format!("m{n:05}").into()).collect();
    // Fourteen wishes: each topic is in those that the bits of its number say.
    let wish = |bit: usize| {
        (0..topics)
            .filter(move |topic| topic >> bit & 1 == 1)
            .collect()
    };
    let subscriber = |(index, member_id)| Subscriber {
        member_id,
        instance_id: None,
        wishes: [Some(index % 14), Some((index + 5) % 14)],
        before: None,
    };
    let id = |number: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Uuid(id)
    };
    let demand = Demand {
        members: ids.iter().enumerate().map(subscriber).collect(),
        topics: (0..topics)
            .map(|number| SubscribedTopic {
                id: id(u16::try_from(number).unwrap()),
                partitions: 1,
            })
            .collect(),
        wishes: (0..14).map(wish).collect(),
    };
    for steps_max in [limits::GROUP_ASSIGNMENT_STEPS, 10_000] {
        let audiences = Audiences::of(&demand, steps_max);
        let candidates = |audience| audiences.subscribers(audience).len();
        let looks: usize = audiences.all.iter().map(candidates).sum();
        assert!(looks <= steps_max, "{looks}");
        for assignor in [Assignor::Range, Assignor::Uniform] {
            let assigned = assignor.assign_within(&demand, steps_max);
            check(&demand, &assigned);
            let most = counts(&assigned).into_iter().max().unwrap();
            assert!(assignor == Assignor::Range || most <= 3, "{most}");
        }
    }
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
