package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"tidewheel.invalid/clients/harness"
)

// book is what the ledgers say about one partition.
type book struct {
	class string
	acked map[int64]uint64 // offset -> sequence
	sent  uint64           // meaningful once the ledger is closed
}

type bookKey struct {
	topic     string
	partition int32
}

func readLedger(path string) (map[bookKey]*book, []string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	books, topics := map[bookKey]*book{}, []string(nil)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var topic, class string
		var partition int32
		var a int64
		var b uint64
		text := lines.Text()
		if n, _ := fmt.Sscanf(text, "ack %s %d %d %d", &topic, &partition, &a, &b); n == 4 {
			entry := books[bookKey{topic, partition}]
			if had, twice := entry.acked[a]; twice {
				return nil, nil, fmt.Errorf("%s-%d: offset %d was acked for records %d and %d", topic, partition, a, had, b)
			}
			entry.acked[a] = b
		} else if n, _ := fmt.Sscanf(text, "topic %s %d %s", &topic, &partition, &class); n == 3 {
			topics = append(topics, topic)
			for p := range partition {
				books[bookKey{topic, p}] = &book{class, map[int64]uint64{}, 0}
			}
		} else if n, _ := fmt.Sscanf(text, "end %s %d %d", &topic, &partition, &b); n == 3 {
			books[bookKey{topic, partition}].sent = b
		} else {
			return nil, nil, fmt.Errorf("%s: what is %q", path, text)
		}
	}
	return books, topics, lines.Err()
}

// verifyCases are one case per topic of each ledger: verify/TOPIC.
func verifyCases(w *world, files []string) []harness.Case {
	var out []harness.Case
	for _, file := range files {
		books, topics, err := readLedger(file)
		if err != nil {
			return []harness.Case{{"verify/" + file, func() (string, error) { return "", err }}}
		}
		for _, topic := range topics {
			out = append(out, harness.Case{"verify/" + topic, func() (string, error) { return w.verifyTopic(topic, books) }})
		}
	}
	return out
}

func (w *world) verifyTopic(topic string, books map[bookKey]*book) (string, error) {
	ends, err := w.Ends(topic, ledgerPartitions)
	if err != nil {
		return "", err
	}
	held, acked := int64(0), 0
	for p, end := range ends {
		entry := books[bookKey{topic, int32(p)}]
		got, err := w.Read(topic, int32(p), 0, int(end), 3*harness.ReadTimeout)
		if err != nil {
			return "", err
		}
		if int64(len(got)) != end {
			return "", fmt.Errorf("partition %d: %d of %d records read", p, len(got), end)
		}
		if err := entry.check(got); err != nil {
			return "", fmt.Errorf("partition %d: %w", p, err)
		}
		held, acked = held+end, acked+len(entry.acked)
	}
	return fmt.Sprintf("%d held, %d acked", held, acked), nil
}

// check: every acked record is where its ack said, once; sequences only grow; an idempotent
// producer, whose records were all acked in the end, left neither gap nor double.
func (b *book) check(got []harness.Record) error {
	last := int64(-1)
	for offset, r := range got {
		if r.Offset != int64(offset) {
			return fmt.Errorf("offset %d where %d was due", r.Offset, offset)
		}
		if len(r.Value) < 8 {
			return fmt.Errorf("offset %d: a value of %d bytes", offset, len(r.Value))
		}
		sequence := binary.BigEndian.Uint64(r.Value)
		if !bytes.Equal(r.Value, ledgerRecord(sequence)) {
			return fmt.Errorf("offset %d: the value of record %d is damaged", offset, sequence)
		}
		if int64(sequence) <= last {
			return fmt.Errorf("offset %d: record %d comes after record %d", offset, sequence, last)
		}
		if b.class == "idempotent" && int64(sequence) != last+1 {
			return fmt.Errorf("offset %d: record %d comes after record %d: some are missing", offset, sequence, last)
		}
		last = int64(sequence)
		if acked, known := b.acked[int64(offset)]; known && acked != sequence {
			return fmt.Errorf("offset %d was acked for record %d and holds %d", offset, acked, sequence)
		}
	}
	for offset, sequence := range b.acked {
		if offset >= int64(len(got)) {
			return fmt.Errorf("record %d was acked at offset %d, the log ends at %d", sequence, offset, len(got))
		}
	}
	if b.class == "idempotent" && uint64(len(got)) != b.sent {
		return fmt.Errorf("%d records sent, %d held", b.sent, len(got))
	}
	if len(b.acked) == 0 {
		return errors.New("nothing was acked")
	}
	return nil
}
