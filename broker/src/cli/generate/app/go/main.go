// Sends ten records to a topic and reads them back, in a consumer group.
//
//	go run . [HOST:PORT] [TOPIC]
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	records  = 10
	patience = 30 * time.Second
)

func produce(ctx context.Context, bootstrap []string, topic, run string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer client.Close()
	batch := make([]*kgo.Record, 0, records)
	for n := range records {
		batch = append(batch, &kgo.Record{
			Topic: topic,
			Key:   fmt.Appendf(nil, "greeting-%d", n),
			Value: fmt.Appendf(nil, "hello %d of %s", n, run),
		})
	}
	// Acknowledged by all replicas, and appended once however often a record has to be sent.
	return client.ProduceSync(ctx, batch...).FirstErr()
}

func consume(ctx context.Context, bootstrap []string, topic, run string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap...),
		kgo.ConsumerGroup("app-go"),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	// Leaves the group.
	defer client.Close()
	for read := 0; read < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%d of %d records came back: %w", read, records, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Printf("%s-%d %d: %s\n", r.Topic, r.Partition, r.Offset, r.Value)
			// Others may use the topic, too.
			if strings.HasSuffix(string(r.Value), run) {
				read++
			}
		})
	}
	// What the last poll brought is committed by the next one, and there is none.
	return client.CommitUncommittedOffsets(ctx)
}

func argument(at int, otherwise string) string {
	if len(os.Args) > at {
		return os.Args[at]
	}
	return otherwise
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	brokers := os.Getenv("TIDEWHEEL_BROKERS")
	if brokers == "" {
		brokers = "127.0.0.1:9092"
	}
	brokers = argument(1, brokers)
	topic, id := argument(2, "greetings"), rand.Text()
	bootstrap := strings.Split(brokers, ",")
	if err := produce(ctx, bootstrap, topic, id); err != nil {
		return err
	}
	if err := consume(ctx, bootstrap, topic, id); err != nil {
		return err
	}
	fmt.Printf("%d records went through %s\n", records, brokers)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
