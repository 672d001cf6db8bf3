package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidewheel.invalid/clients/harness"
)

const (
	// longestLine cuts what would not fit a record; nothing in a source tree is meant to be longer.
	longestLine  = 900_000
	datasetParts = 6
)

// tally is the order-sensitive hash of all lines of one key.
type tally struct {
	sum       hash.Hash
	lines     int
	partition int32
}

type tallies map[string]*tally

func (t tallies) add(key string, line []byte, partition int32) error {
	entry, known := t[key]
	if !known {
		entry = &tally{sha256.New(), 0, partition}
		t[key] = entry
	}
	if entry.partition != partition {
		return fmt.Errorf("key %s in partitions %d and %d", key, entry.partition, partition)
	}
	fmt.Fprintf(entry.sum, "%d:", len(line))
	entry.sum.Write(line)
	entry.lines++
	return nil
}

// compare says where two sets of tallies differ.
func (t tallies) compare(got tallies) error {
	if len(t) != len(got) {
		return fmt.Errorf("%d keys sent, %d read", len(t), len(got))
	}
	for key, want := range t {
		have, known := got[key]
		if !known || have.lines != want.lines || !bytes.Equal(have.sum.Sum(nil), want.sum.Sum(nil)) {
			return fmt.Errorf("key %s: %d lines were sent; what came back differs: %+v", key, want.lines, have)
		}
	}
	return nil
}

type sourceFile struct {
	name  string
	lines [][]byte
}

// sources reads every file below the folders that listFile names, one a line.
func sources(listFile string) ([]sourceFile, error) {
	list, err := os.ReadFile(listFile)
	if err != nil {
		return nil, err
	}
	var out []sourceFile
	for folder := range strings.Lines(string(list)) {
		folder = strings.TrimSpace(folder)
		err = errors.Join(err, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := filepath.Join(filepath.Base(folder), strings.TrimPrefix(path, folder))
			out = append(out, sourceFile{name, cut(text)})
			return nil
		}))
	}
	return out, err
}

func cut(text []byte) [][]byte {
	var out [][]byte
	for line := range bytes.Lines(text) {
		out = append(out, line[:min(len(line), longestLine)])
	}
	return out
}

func datasetCases(w *world, args []string) []harness.Case {
	return []harness.Case{{"dataset", func() (string, error) {
		if len(args) != 2 {
			return "", errors.New("dataset needs LIST and MEGABYTES")
		}
		megabytes, err := strconv.Atoi(args[1])
		if err != nil {
			return "", err
		}
		return w.dataset(args[0], int64(megabytes)<<20)
	}}}
}

func (w *world) dataset(listFile string, least int64) (string, error) {
	files, err := sources(listFile)
	if err != nil {
		return "", err
	}
	topic := w.Topic("dataset")
	settings := map[string]string{"retention.ms": "-1", "segment.bytes": "16777216"}
	if err := w.MakeTopic(topic, datasetParts, settings); err != nil {
		return "", err
	}
	started := time.Now()
	sent, size, count, err := w.sendLines(topic, files, least)
	if err != nil {
		return "", err
	}
	produced := time.Now()
	got, err := w.readLines(topic, count)
	if err != nil {
		return "", err
	}
	detail := fmt.Sprintf("%d MiB, %d lines, %d keys: sent in %.1f s, read in %.1f s",
		size>>20, count, len(sent), produced.Sub(started).Seconds(), time.Since(produced).Seconds())
	return detail, sent.compare(got)
}

// sendLines sends the files, under new keys each round, until enough bytes are sent.
func (w *world) sendLines(topic string, files []sourceFile, least int64) (tallies, int64, int, error) {
	client, err := w.client.producer("lz4", "idempotent", kgo.MaxBufferedRecords(200_000))
	if err != nil {
		return nil, 0, 0, err
	}
	defer client.Close()
	ctx, cancel := harness.Deadline(5 * time.Minute)
	defer cancel()
	var failed error // written by promises, which run one after the other
	delivered := func(_ *kgo.Record, err error) {
		if err != nil && failed == nil {
			failed = err
		}
	}
	sent, size, count := tallies{}, int64(0), 0
	for round := 0; size < least; round++ {
		before := size
		for _, file := range files {
			if size >= least {
				break
			}
			key := fmt.Appendf(nil, "%d/%s", round, file.name)
			for _, text := range file.lines {
				record := &kgo.Record{Topic: topic, Key: key, Value: text, Partition: -1}
				client.Produce(ctx, record, delivered)
				size += int64(len(text))
				count++
				// The partition is compared on the way back: one key, one partition.
				if err := sent.add(string(key), text, 0); err != nil {
					return nil, 0, 0, err
				}
			}
		}
		if size == before {
			return nil, 0, 0, errors.New("the folders of the list hold no text")
		}
	}
	if err := client.Flush(ctx); err != nil {
		return nil, 0, 0, err
	}
	return sent, size, count, failed
}

func (w *world) readLines(topic string, count int) (tallies, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(datasetParts) {
		from[p] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.Bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxPartitionBytes(4<<20),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := harness.Deadline(5 * time.Minute)
	defer cancel()
	got, next, read := tallies{}, map[int32]int64{}, 0
	for read < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d lines read: %w", read, count, err)
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] && failed == nil {
				failed = fmt.Errorf("partition %d: offset %d, expected %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
			failed = errors.Join(failed, got.add(string(r.Key), r.Value, r.Partition))
			read++
		})
		if failed != nil {
			return nil, failed
		}
	}
	return got, nil
}
