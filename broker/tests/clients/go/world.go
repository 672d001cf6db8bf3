package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	callTimeout = 20 * time.Second
	readTimeout = 20 * time.Second
	// quiet is how long a reader at the end is watched for records that must not come.
	quiet = 300 * time.Millisecond
)

// world is the broker under test and what every mode needs to reach it.
type world struct {
	bootstrap  string
	prefix     string
	partitions int32
	settle     bool
	client     *kgo.Client
	admin      *kadm.Client
}

func newWorld(bootstrap, prefix string, partitions int32, settle bool) (*world, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &world{bootstrap, prefix, partitions, settle, client, kadm.NewClient(client)}, nil
}

func (w *world) close() { w.client.Close() }

func (w *world) topic(name string) string { return w.prefix + "-" + name }

func deadline(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

func settings(pairs ...string) map[string]*string {
	out := map[string]*string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = &pairs[i+1]
	}
	return out
}

// create makes a topic that can be written and read at once.
func (w *world) create(topic string, partitions int32, config map[string]*string) error {
	ctx, cancel := deadline(callTimeout)
	defer cancel()
	if _, err := w.admin.CreateTopic(ctx, partitions, 1, config, topic); err != nil {
		return fmt.Errorf("create %s: %w", topic, err)
	}
	if !w.settle {
		return nil
	}
	// Apache Kafka answers CreateTopics before the new leaders serve.
	for ctx.Err() == nil {
		if _, err := w.ends(topic, partitions); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the leaders of " + topic + " do not serve")
}

// ends are the end offsets of a topic's partitions.
func (w *world) ends(topic string, partitions int32) ([]int64, error) {
	ctx, cancel := deadline(callTimeout)
	defer cancel()
	listed, err := w.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make([]int64, partitions)
	for p := range out {
		found, ok := listed.Lookup(topic, int32(p))
		if !ok {
			return nil, fmt.Errorf("no end offset of %s-%d", topic, p)
		}
		if found.Err != nil {
			return nil, found.Err
		}
		out[p] = found.Offset
	}
	return out, nil
}

// place is where a record was acknowledged; offset is -1 at acks=0.
type place struct {
	partition int32
	offset    int64
}

func codecOf(name string) kgo.CompressionCodec {
	switch name {
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

// modeOptions are the producer options of acks=0, acks=1, acks=all and idempotent.
func modeOptions(mode string) []kgo.Opt {
	switch mode {
	case "acks=0":
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}
	case "acks=1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}
	case "acks=all":
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite()}
	}
	return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}
}

// aimed sends a record with a partition of its own there and leaves the others to the default.
type aimed struct{ kgo.Partitioner }

type aimedTopic struct{ kgo.TopicPartitioner }

func (a aimed) ForTopic(topic string) kgo.TopicPartitioner {
	return aimedTopic{a.Partitioner.ForTopic(topic)}
}

func (a aimedTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return a.TopicPartitioner.Partition(r, n)
}

func (w *world) producer(codec, mode string, more ...kgo.Opt) (*kgo.Client, error) {
	options := append(modeOptions(mode),
		kgo.SeedBrokers(w.bootstrap),
		kgo.ProducerBatchCompression(codecOf(codec)),
		kgo.RecordPartitioner(aimed{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerLinger(2*time.Millisecond),
		kgo.MetadataMinAge(10*time.Millisecond),
	)
	return kgo.NewClient(append(options, more...)...)
}

// produce sends in order, waits for all and says where each went.
func (w *world) produce(topic string, records []record, codec, mode string) ([]place, error) {
	client, err := w.producer(codec, mode)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := deadline(30 * time.Second)
	defer cancel()
	placed, failed := make([]place, len(records)), make([]error, len(records))
	for i, r := range records {
		out := r.toKgo(topic)
		client.Produce(ctx, out, func(sent *kgo.Record, err error) {
			placed[i], failed[i] = place{sent.Partition, sent.Offset}, err
		})
		if i%25 == 24 && mode != "acks=0" { // several batches per partition
			if err := client.Flush(ctx); err != nil {
				return nil, err
			}
		}
	}
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	if mode == "acks=0" {
		for i := range placed {
			placed[i].offset = -1
		}
	}
	return placed, errors.Join(failed...)
}

// read takes up to count records of a partition from an offset on, within the limit.
func (w *world) read(topic string, partition int32, offset int64, count int, limit time.Duration) ([]record, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.MetadataMinAge(10*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := deadline(limit)
	defer cancel()
	var out []record
	for len(out) < count && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return out, e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) { out = append(out, fromKgo(r)) })
	}
	return out, nil
}
