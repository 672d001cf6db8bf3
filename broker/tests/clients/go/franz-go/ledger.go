package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidewheel.invalid/clients/harness"
)

// A ledger is a text file that a producer writes as acks arrive; verify.go reads it. Its lines:
//
//	topic NAME PARTITIONS CLASS            a topic that is written, at acks-1, acks-all or idempotent
//	ack NAME PARTITION OFFSET SEQUENCE     a record was acknowledged
//	end NAME PARTITION SENT                at the end: so many records (0..SENT-1) were handed to the client
//
// A value is its sequence number in its partition (8 bytes, big endian) and a filling made from it.

const (
	ledgerPartitions = 3
	ledgerValue      = 220
	ledgerTick       = 5 * time.Millisecond
	ledgerPerTick    = 24
)

var ledgerClasses = []string{"acks-1", "acks-all", "idempotent"}

func ledgerRecord(sequence uint64) []byte {
	out := binary.BigEndian.AppendUint64(nil, sequence)
	return append(out, bytes.Repeat([]byte{byte(sequence % 251)}, ledgerValue)...)
}

// ledger is the file, shared by the producers of all classes.
type ledger struct {
	sync.Mutex
	out   *bufio.Writer
	acked atomic.Int64
}

func (l *ledger) note(format string, args ...any) {
	l.Lock()
	defer l.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

// classOptions: without idempotence nothing is sent twice, so that every acked record must be there once.
func classOptions(class string) (string, []kgo.Opt) {
	fast := kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond })
	once := []kgo.Opt{fast, kgo.RecordRetries(0), kgo.RecordDeliveryTimeout(10 * time.Second)}
	switch class {
	case "acks-1":
		return "acks=1", once
	case "acks-all":
		return "acks=all", once
	}
	return "idempotent", []kgo.Opt{fast, kgo.RecordDeliveryTimeout(2 * time.Minute)}
}

// ledgerProducer produces to the topic of one class until ctx ends, then waits for what is under way.
func (w *world) ledgerProducer(ctx context.Context, l *ledger, class string) (string, error) {
	topic := w.Topic(class)
	mode, options := classOptions(class)
	client, err := w.client.producer("none", mode, append(options, kgo.MaxBufferedRecords(4_000))...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	l.note("topic %s %d %s", topic, ledgerPartitions, class)
	var sent [ledgerPartitions]uint64
	var acked, lost atomic.Int64
	var first atomic.Pointer[error]
	for ctx.Err() == nil {
		for range ledgerPerTick {
			p := int32((sent[0] + sent[1] + sent[2]) % ledgerPartitions)
			sequence := sent[p]
			sent[p]++
			record := &kgo.Record{Topic: topic, Partition: p, Value: ledgerRecord(sequence)}
			client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
				if err != nil {
					first.CompareAndSwap(nil, &err)
					lost.Add(1)
					return
				}
				acked.Add(1)
				l.acked.Add(1)
				l.note("ack %s %d %d %d", topic, r.Partition, r.Offset, sequence)
			})
		}
		time.Sleep(ledgerTick)
	}
	end, cancel := harness.Deadline(2 * time.Minute)
	defer cancel()
	if err := client.Flush(end); err != nil {
		return "", err
	}
	for p, n := range sent {
		l.note("end %s %d %d", topic, p, n)
	}
	detail := fmt.Sprintf("%d acked, %d not", acked.Load(), lost.Load())
	if class == "idempotent" && lost.Load() > 0 {
		return detail, fmt.Errorf("%s: %w", detail, *first.Load())
	}
	return detail, harness.Wants(acked.Load() > 0, "nothing was acked")
}

// runLedger produces at every class until its standard input closes; a line of progress now and then.
func runLedger(w *world, args []string) (bool, error) {
	if len(args) != 1 {
		return false, errors.New("ledger needs FILE")
	}
	file, err := os.Create(args[0])
	if err != nil {
		return false, err
	}
	l := &ledger{out: bufio.NewWriter(file)}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			fmt.Printf("{\"progress\":%d}\n", l.acked.Load())
		}
	}()
	for _, class := range ledgerClasses {
		if err := w.MakeTopic(w.Topic(class), ledgerPartitions, harness.TopicSettings()); err != nil {
			return false, err
		}
	}
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, class := range ledgerClasses {
		all.Go(func() {
			started := time.Now()
			detail, err := w.ledgerProducer(ctx, l, class)
			if !harness.Report("ledger/"+class, detail, err, started) {
				failed.Store(true)
			}
		})
	}
	all.Wait()
	l.Lock()
	defer l.Unlock()
	return !failed.Load(), errors.Join(l.out.Flush(), file.Close())
}
