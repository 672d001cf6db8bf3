// Command reference plays the case that delayed delivery was made for: a producer that knows nothing of it dates its
// records 30 s ahead and compresses them with LZ4; nobody reads one before its time, and every group reads each once, soon
// after. It is built with several versions of sarama, one to a mod file; the first is Shopify's 1.38.1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"tidewheel.invalid/clients/harness"
)

const (
	topic      = "reference"
	partitions = 3
	// rounds of so many records are sent, a batch to each partition. Those of the last one are due one after the other.
	rounds, perRound = 4, 30
	ahead            = 30 * time.Second
	// late is how long after it was due a record may be read, also where the broker was started again meanwhile.
	late = 5 * time.Second
	// quiet is how long is waited for what must not come again.
	quiet = 2 * time.Second
	// step bounds what must happen before anything is due.
	step = 20 * time.Second
)

var groups = []string{"first", "second", "third"}

// arrival is when a group got a record.
type arrival struct {
	value string
	atMs  int64
}

// reader reads in a group for as long as it is not stopped, whatever becomes of the broker.
type reader struct {
	name  string
	mutex sync.Mutex
	owned int
	got   []arrival
}

func (r *reader) Setup(session sarama.ConsumerGroupSession) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.owned = len(session.Claims()[topic])
	return nil
}

func (r *reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		r.mutex.Lock()
		r.got = append(r.got, arrival{string(message.Value), time.Now().UnixMilli()})
		r.mutex.Unlock()
		session.MarkMessage(message, "")
	}
	return nil
}

func (r *reader) now() (int, []arrival) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.owned, append([]arrival(nil), r.got...)
}

func (r *reader) run(ctx context.Context, bootstrap []string) {
	for ctx.Err() == nil {
		if group, err := sarama.NewConsumerGroup(bootstrap, r.name, config()); err == nil {
			for err == nil && ctx.Err() == nil {
				err = group.Consume(ctx, []string{topic}, r)
			}
			group.Close()
		}
		time.Sleep(100 * time.Millisecond) // the broker is away
	}
}

func config() *sarama.Config {
	out := sarama.NewConfig()
	out.Version = sarama.V1_0_0_0
	out.Consumer.Offsets.Initial = sarama.OffsetOldest
	out.Producer.Compression = sarama.CompressionLZ4
	out.Producer.RequiredAcks = sarama.WaitForAll
	out.Producer.Return.Successes = true
	out.Producer.Partitioner = sarama.NewManualPartitioner
	// So that there are several records in a batch.
	out.Producer.Flush.Messages = perRound
	out.Producer.Flush.Frequency = 200 * time.Millisecond
	return out
}

// until waits for something that must come to be.
func until(what string, limit time.Duration, done func() bool) error {
	for end := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
	return nil
}

func makeTopic(bootstrap []string) error {
	admin, err := sarama.NewClusterAdmin(bootstrap, config())
	if err != nil {
		return err
	}
	defer admin.Close()
	mode := "timestamp"
	return admin.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{"delay.mode": &mode},
	}, false)
}

// send sends a round; it notes when each record is due.
func send(producer sarama.SyncProducer, round int, due map[string]int64) error {
	var batch []*sarama.ProducerMessage
	for i := range perRound {
		value := strconv.Itoa(round*perRound + i)
		at := time.Now().Add(ahead)
		if round == rounds-1 {
			at = at.Add(time.Duration(i) * 100 * time.Millisecond)
		}
		due[value] = at.UnixMilli()
		batch = append(batch, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(i % partitions), Value: sarama.StringEncoder(value), Timestamp: at,
		})
	}
	if err := producer.SendMessages(batch); err != nil {
		return err
	}
	// The library counts on from the first offset of a batch, which is -1.
	var least, most int64 = 0, -1
	for _, message := range batch {
		least, most = min(least, message.Offset), max(most, message.Offset)
	}
	return harness.Wants(least == -1 && most >= 1 && most < perRound, "offsets from %d to %d", least, most)
}

// accepted: the groups wait, all is sent and none of it is visible.
func accepted(bootstrap []string, readers []*reader, due map[string]int64) error {
	for _, r := range readers {
		err := until(r.name+" has all partitions", step, func() bool { owned, _ := r.now(); return owned == partitions })
		if err != nil {
			return err
		}
	}
	client, err := sarama.NewClient(bootstrap, config())
	if err != nil {
		return err
	}
	defer client.Close()
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return err
	}
	defer producer.Close()
	for round := range rounds {
		if err := send(producer, round, due); err != nil {
			return err
		}
	}
	for p := range int32(partitions) {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		if err == nil {
			err = harness.Wants(end == 0, "partition %d ends at %d before anything is due", p, end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delivered: every group gets every record once, in its time.
func delivered(readers []*reader, due map[string]int64) (string, error) {
	var last int64
	for _, at := range due {
		last = max(last, at)
	}
	limit := time.Until(time.UnixMilli(last)) + late + quiet
	var latest int64
	for _, r := range readers {
		// What is missing is told below.
		_ = until("", limit, func() bool { _, got := r.now(); return len(got) >= len(due) })
	}
	time.Sleep(quiet)
	var failed error
	for _, r := range readers {
		times := map[string]int{}
		_, got := r.now()
		for _, one := range got {
			times[one.value]++
			after := one.atMs - due[one.value]
			latest = max(latest, after)
			if after < 0 || after > late.Milliseconds() {
				failed = errors.Join(failed, fmt.Errorf("%s got %s %d ms after it was due", r.name, one.value, after))
			}
		}
		for value := range due {
			if times[value] != 1 {
				failed = errors.Join(failed, fmt.Errorf("%s got %s %d times", r.name, value, times[value]))
			}
		}
	}
	return fmt.Sprintf("%d records, the latest %d ms after it was due", len(due), latest), failed
}

func main() {
	address := flag.String("bootstrap", "", "HOST:PORT of the broker")
	flag.Parse()
	bootstrap, started := []string{*address}, time.Now()
	ctx, stop := context.WithCancel(context.Background())
	due := map[string]int64{}
	err := makeTopic(bootstrap)
	var readers []*reader
	for _, name := range groups {
		r := &reader{name: name}
		readers = append(readers, r)
		go r.run(ctx, bootstrap)
	}
	if err == nil {
		err = accepted(bootstrap, readers, due)
	}
	ok := harness.Report("reference/accepted", "", err, started)
	if ok {
		detail, err := delivered(readers, due)
		ok = harness.Report("reference/delivered", detail, err, started)
	}
	stop()
	if !ok {
		os.Exit(1)
	}
}
