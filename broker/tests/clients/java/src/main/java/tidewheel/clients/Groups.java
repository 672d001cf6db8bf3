package tidewheel.clients;

import static tidewheel.clients.World.check;

import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntToLongFunction;

/** The cases of consumer groups; see harness/groups.go and groups.py for the same in other languages. */
final class Groups {
    /** More than members, so that every one owns several. */
    static final int PARTITIONS = 6;

    /** Bounds a rebalance, and reading what must be there. */
    static final long LIMIT_S = 30;

    private static final Map<String, String> DELAYED = Map.of("delay.mode", "timestamp");

    /** What one fill adds to a partition. */
    private static final int ROUND = 5;

    private final World world;

    /** The topic of a case, and a group of the same name. */
    private final String name;

    /** The records of each partition. */
    private long written;

    /** When those of the last fill are due. */
    private long due;

    private Groups(World world, String name) {
        this.world = world;
        this.name = name;
    }

    interface Body {
        void run(Groups groups) throws Exception;
    }

    interface Done {
        boolean is() throws Exception;
    }

    static List<Main.Case> cases(World world) {
        return cases(world, "group/");
    }

    /** The same by the newer protocol. */
    static List<Main.Case> consumerCases(World world) {
        world.newerProtocol = true;
        return cases(world, "consumer-group/");
    }

    private static List<Main.Case> cases(World world, String kind) {
        List<Main.Case> out = new ArrayList<>();
        out.add(test(world, kind + "share", Groups::share));
        out.add(test(world, kind + "commit", Groups::commit));
        if (!world.newerProtocol) {
            out.add(test(world, kind + "delayed", Groups::delayed));
        }
        for (GroupAdmin admin : GroupAdmin.offered()) {
            out.add(test(world, kind + "admin", groups -> groups.admin(admin)));
        }
        return out;
    }

    /** One case: it prints a line when the broker may be killed, and goes on when its input is closed. */
    static List<Main.Case> surviveCases(World world) {
        world.newerProtocol = true;
        return List.of(test(world, "consumer-group/survive", Groups::survive));
    }

    private static Main.Case test(World world, String name, Body body) {
        return Matrix.test(
                name,
                () -> {
                    String topic = world.prefix + "-" + name.replace('/', '-');
                    Groups groups = new Groups(world, topic);
                    boolean ahead = name.endsWith("/delayed") && !world.settle;
                    world.create(topic, PARTITIONS, ahead ? DELAYED : Map.of());
                    groups.fill(ahead ? AdminCases.DELAY_MS : 0);
                    body.run(groups);
                });
    }

    private void fill() throws Exception {
        fill(0);
    }

    private void fill(long aheadMs) throws Exception {
        List<Sent> records = new ArrayList<>();
        due = System.currentTimeMillis() + aheadMs;
        for (int i = 0; i < PARTITIONS * ROUND; i++) {
            records.add(Sent.of(i % PARTITIONS, due, "" + i));
        }
        world.produce(name, records, "none", "acks=all");
        written += ROUND;
    }

    private Member join(boolean autoCommit) {
        return new Member(world, name, name, autoCommit);
    }

    private static void until(String what, List<Member> members, Done done) throws Exception {
        long until = System.nanoTime() + LIMIT_S * 1_000_000_000;
        while (!done.is()) {
            check(
                    System.nanoTime() < until,
                    "%s: not within %d s; owned are %s",
                    what,
                    LIMIT_S,
                    members.stream().map(Member::owned).toList());
            Thread.sleep(10);
        }
    }

    /** Waits until every partition has one owner and every member some; gives the owners. */
    private static Map<Integer, Member> settle(Member... members) throws Exception {
        Map<Integer, Member> owners = new HashMap<>();
        until(
                "settled",
                List.of(members),
                () -> {
                    owners.clear();
                    int count = 0;
                    for (Member m : members) {
                        var owned = m.owned();
                        m.taken();
                        if (owned.isEmpty()) {
                            return false;
                        }
                        owned.forEach(p -> owners.put(p, m));
                        count += owned.size();
                    }
                    return count == PARTITIONS && owners.size() == PARTITIONS;
                });
        return owners;
    }

    /** Waits until somebody took each record from these offsets on. */
    private void deliver(IntToLongFunction from, Member... members) throws Exception {
        until(
                "delivered",
                List.of(members),
                () -> {
                    Map<Integer, Set<Long>> seen = new HashMap<>();
                    for (Member m : members) {
                        for (Member.Taken t : m.taken()) {
                            seen.computeIfAbsent(t.partition(), p -> new HashSet<>())
                                    .add(t.offset());
                        }
                    }
                    for (int p = 0; p < PARTITIONS; p++) {
                        for (long o = from.applyAsLong(p); o < written; o++) {
                            if (!seen.getOrDefault(p, Set.of()).contains(o)) {
                                return false;
                            }
                        }
                    }
                    return true;
                });
    }

    /** Between two assignments a member takes each partition without gap or step back. */
    private static void ordered(Member... members) throws Exception {
        for (Member m : members) {
            Map<List<Integer>, Long> last = new HashMap<>();
            for (Member.Taken t : m.taken()) {
                Long before = last.put(List.of(t.session(), t.partition()), t.offset());
                check(before == null || t.offset() == before + 1, "%s after %d", t, before);
            }
        }
    }

    /** Members come and go; they commit as the library does by itself. */
    private void share() throws Exception {
        Member a = join(true);
        Member b = join(true);
        settle(a, b);
        fill();
        deliver(p -> 0, a, b);
        Member c = join(true);
        fill();
        settle(a, b, c);
        deliver(p -> 0, a, b, c);
        b.leave();
        fill();
        Map<Integer, Member> owners = settle(a, c);
        deliver(p -> 0, a, b, c);
        long first = written;
        fill();
        deliver(p -> first, a, c);
        for (Member m : List.of(a, c)) {
            for (Member.Taken t : m.taken()) {
                boolean right = t.offset() < first || owners.get(t.partition()) == m;
                check(right, "%s came to a member that does not own the partition", t);
            }
        }
        ordered(a, b, c);
        a.leave();
        c.leave();
        goesOn(p -> first + ROUND, join(true));
    }

    /** What was committed does not come again, and all else does. */
    private void goesOn(IntToLongFunction from, Member d) throws Exception {
        fill();
        deliver(from, d);
        ordered(d);
        for (Member.Taken t : d.taken()) {
            check(t.offset() >= from.applyAsLong(t.partition()), "%s was committed", t);
        }
        d.leave();
    }

    /** Every group takes records from the future once, and not before their time has come. */
    private void delayed() throws Exception {
        Member a = join(true);
        Member b = new Member(world, name + "-other", name, true);
        deliver(p -> 0, a);
        deliver(p -> 0, b);
        check(AdminCases.left(due) <= 0, "read %d ms before it was due", AdminCases.left(due));
        ordered(a, b);
        a.leave();
        b.leave();
    }

    /** A new member goes on exactly where the last one committed. */
    private void commit() throws Exception {
        Map<TopicPartition, OffsetAndMetadata> due = new HashMap<>();
        for (int p = 0; p < PARTITIONS; p++) {
            String text = p == 0 ? "" : "read to " + p + " \u00e9t\u00e9 \u2713";
            due.put(new TopicPartition(name, p), new OffsetAndMetadata(p % ROUND, text));
        }
        Member a = join(false);
        deliver(p -> 0, a);
        a.ask(
                own -> {
                    own.commitSync(due);
                    return null;
                });
        for (var one : due.entrySet()) {
            OffsetAndMetadata seen = a.ask(own -> Api.committed(own, one.getKey()));
            boolean same =
                    seen != null
                            && seen.offset() == one.getValue().offset()
                            && seen.metadata().equals(one.getValue().metadata());
            check(same, "%s: committed is %s, sent was %s", one.getKey(), seen, one.getValue());
        }
        a.leave();
        goesOn(p -> p % ROUND, join(false));
    }

    /** Members, their partitions and what they committed outlive the broker. */
    private void survive() throws Exception {
        Member a = join(false);
        Member b = join(false);
        settle(a, b);
        deliver(p -> 0, a, b);
        commitAll(a);
        System.out.println("{\"progress\": 1}");
        System.in.readAllBytes();
        fill();
        deliver(p -> 0, a, b);
        settle(a, b);
        Member c = join(false);
        settle(a, b, c);
        commitAll(c);
        long first = written;
        a.leave();
        b.leave();
        c.leave();
        goesOn(p -> first, join(false));
    }

    private void commitAll(Member member) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> due = new HashMap<>();
        for (int p = 0; p < PARTITIONS; p++) {
            due.put(new TopicPartition(name, p), new OffsetAndMetadata(written));
        }
        member.ask(
                own -> {
                    own.commitSync(due);
                    return null;
                });
    }

    /** A group is described and listed, and deleted once nobody is left in it. */
    private void admin(GroupAdmin admin) throws Exception {
        Member a = join(false);
        deliver(p -> 0, a);
        a.ask(
                own -> {
                    own.commitSync();
                    return null;
                });
        admin.described(world, name, "Stable", 1);
        admin.listed(world, name, true);
        String refusal = admin.delete(world, name);
        check(refusal.equals("GroupNotEmptyException"), "deleted alive: %s", refusal);
        a.leave();
        admin.described(world, name, "Empty", 0);
        admin.listed(world, name, true);
        check(admin.committed(world, name).size() == PARTITIONS, "%s", admin.committed(world, name));
        refusal = admin.delete(world, name);
        check(refusal.isEmpty(), "deleted: %s", refusal);
        admin.listed(world, name, false);
        refusal = admin.delete(world, name);
        check(refusal.equals("GroupIdNotFoundException"), "deleted again: %s", refusal);
    }
}
