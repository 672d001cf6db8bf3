package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidewheel.invalid/clients/harness"
)

// client is franz-go as the harness sees it.
type client struct {
	bootstrap string
	shared    *kgo.Client
	admin     *kadm.Client
	// newer: members join by the newer protocol.
	newer bool
}

func open(bootstrap string) (*client, error) {
	shared, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &client{bootstrap, shared, kadm.NewClient(shared), false}, nil
}

func (c *client) Close() { c.shared.Close() }

func (c *client) Traits() harness.Traits {
	return harness.Traits{
		Codecs: harness.Codecs, Modes: harness.Modes, TopicIDs: true, Defaults: true, Incremental: true,
		CommitTexts: true,
	}
}

func (c *client) Code(err error) int16 {
	if err == nil {
		return 0
	}
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Code
	}
	return -1
}

func toKgo(topic string, r harness.Record) *kgo.Record {
	out := &kgo.Record{
		Topic: topic, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp), Partition: r.Partition,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

func fromKgo(r *kgo.Record) harness.Record {
	out := harness.Record{
		Key: r.Key, Value: r.Value, Timestamp: r.Timestamp.UnixMilli(), Partition: r.Partition, Offset: r.Offset,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, harness.Header{Key: h.Key, Value: h.Value})
	}
	return out
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

func (c *client) producer(codec, mode string, more ...kgo.Opt) (*kgo.Client, error) {
	options := append(modeOptions(mode),
		kgo.SeedBrokers(c.bootstrap),
		kgo.ProducerBatchCompression(codecOf(codec)),
		kgo.RecordPartitioner(aimed{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerLinger(2*time.Millisecond),
		kgo.MetadataMinAge(10*time.Millisecond),
	)
	return kgo.NewClient(append(options, more...)...)
}

func (c *client) Produce(topic string, records []harness.Record, codec, mode string) ([]harness.Place, error) {
	client, err := c.producer(codec, mode)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := harness.Deadline(30 * time.Second)
	defer cancel()
	placed, failed := make([]harness.Place, len(records)), make([]error, len(records))
	for i, r := range records {
		client.Produce(ctx, toKgo(topic, r), func(sent *kgo.Record, err error) {
			placed[i], failed[i] = harness.Place{Partition: sent.Partition, Offset: sent.Offset}, err
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
			placed[i].Offset = -1
		}
	}
	return placed, errors.Join(failed...)
}

func (c *client) AutoCreate(ctx context.Context, topic string) error {
	client, err := c.producer("none", "idempotent", kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v"), Partition: -1}).FirstErr()
}

func (c *client) Read(
	topic string, partition int32, offset int64, count int, limit time.Duration,
) ([]harness.Record, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(c.bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.MetadataMinAge(10*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := harness.Deadline(limit)
	defer cancel()
	var out []harness.Record
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
