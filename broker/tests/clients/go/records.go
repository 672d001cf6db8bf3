package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const standardRecords = 240

// valueSizes goes from nothing to near a client's default limit of one message.
var valueSizes = []int{0, 1, 2, 127, 128, 1000, 16_383, 16_384, 100_000, 500_000, 900_000, 800_000, 600_000}

// record is one record as sent (partition -1: the client decides) or as read.
type record struct {
	key, value []byte
	headers    []kgo.RecordHeader
	timestamp  int64
	partition  int32
	offset     int64
}

func (r record) toKgo(topic string) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: r.key, Value: r.value, Headers: r.headers,
		Timestamp: time.UnixMilli(r.timestamp), Partition: r.partition,
	}
}

func fromKgo(r *kgo.Record) record {
	return record{r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli(), r.Partition, r.Offset}
}

// same compares bytes and tells null from empty.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// difference says in what a read record differs from the sent one, "" when in nothing.
func difference(got, want record) string {
	switch {
	case !same(got.key, want.key):
		return fmt.Sprintf("key %.40q, sent %.40q", got.key, want.key)
	case !same(got.value, want.value):
		return fmt.Sprintf("value of %d bytes %.40q, sent %d bytes %.40q",
			len(got.value), got.value, len(want.value), want.value)
	case got.timestamp != want.timestamp:
		return fmt.Sprintf("timestamp %d, sent %d", got.timestamp, want.timestamp)
	case len(got.headers) != len(want.headers):
		return fmt.Sprintf("%d headers, sent %d", len(got.headers), len(want.headers))
	}
	for i, h := range want.headers {
		if got.headers[i].Key != h.Key || !same(got.headers[i].Value, h.Value) {
			return fmt.Sprintf("header %d is %v, sent %v", i, got.headers[i], h)
		}
	}
	return ""
}

func seeded(name string) *rand.Rand {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return rand.New(rand.NewPCG(hash.Sum64(), 1))
}

// payload is half text that compresses well, half noise that does not.
func payload(rng *rand.Rand, size int) []byte {
	text := fmt.Appendf(nil, "%d the tide turns twice a day; ", rng.IntN(1000))
	out := bytes.Repeat(text, size/len(text)+1)[:size]
	for i := size / 2; i < size; i++ {
		out[i] = byte(rng.Uint32())
	}
	return out
}

func headersOf(index int) []kgo.RecordHeader {
	if index%5 == 0 {
		return nil
	}
	return []kgo.RecordHeader{
		{Key: "index", Value: fmt.Append(nil, index)},
		{Key: "dup", Value: []byte("first")},
		{Key: "dup", Value: []byte("second")},
		{Key: "null", Value: nil},
		{Key: "empty", Value: []byte{}},
		{Key: "bytes-ü", Value: []byte{0, 0xff, 0x80}},
	}
}

// standardSet has every kind of key, value, header and timestamp.
func standardSet(name string, partitions int32) []record {
	rng := seeded(name)
	keys := [][]byte{{0xff, 0, 0xfe}, []byte("ключ"), bytes.Repeat([]byte("k"), 300)}
	for i := range 12 {
		keys = append(keys, fmt.Appendf(nil, "key-%d", i))
	}
	base := time.Now().Add(-time.Hour).UnixMilli()
	out := make([]record, standardRecords)
	for i := range out {
		r := record{partition: -1, headers: headersOf(i), timestamp: base + 10*int64(i)}
		switch i % 4 {
		case 0, 1:
			r.key = keys[rng.IntN(len(keys))]
		case 2:
			r.partition = int32(i) % partitions
			if i%8 == 2 {
				r.key = []byte{}
			}
		}
		r.value = payload(rng, 1+rng.IntN(2000))
		switch i % 11 {
		case 1:
			r.value = nil
		case 2:
			r.value = []byte{}
		}
		if i%13 == 12 { // dated before its neighbours
			r.timestamp -= 5_000
		}
		out[i] = r
	}
	return out
}

func sizeSet(name string, partitions int32) []record {
	rng := seeded(name)
	base := time.Now().Add(-time.Hour).UnixMilli()
	var out []record
	for i, size := range valueSizes {
		out = append(out, record{
			key: fmt.Appendf(nil, "size-%d", size), value: payload(rng, size),
			timestamp: base + int64(i), partition: int32(i) % partitions,
		})
	}
	return out
}
