package tidewheel.clients;

import org.apache.kafka.common.TopicPartition;

import java.util.List;
import java.util.Set;

/** What the admin client offers of groups, which it does since 2.0. */
interface GroupAdmin {
    void described(World world, String group, String state, int members) throws Exception;

    void listed(World world, String group, boolean due) throws Exception;

    /** The partitions for which something is committed. */
    Set<TopicPartition> committed(World world, String group) throws Exception;

    /** The name of the exception that it was refused with; empty: it was done. */
    String delete(World world, String group) throws Exception;

    /** None or one. */
    static List<GroupAdmin> offered() {
        try {
            Class<?> built = Class.forName(GroupAdmin.class.getPackageName() + ".AdminOfGroups");
            return List.of((GroupAdmin) built.getDeclaredConstructor().newInstance());
        } catch (ClassNotFoundException e) {
            return List.of(); // The runner knows which generations must have it.
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }
}
