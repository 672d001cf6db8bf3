package harness

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

const standardRecords = 240

// valueSizes goes from nothing to near a client's default limit of one message.
var valueSizes = []int{0, 1, 2, 127, 128, 1000, 16_383, 16_384, 100_000, 500_000, 900_000, 800_000, 600_000}

// Header is one header of a record; a null value is nil, an empty one is not.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record as sent (partition -1: the client decides) or as read. Timestamp is in
// milliseconds since 1970; null keys and values are nil.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Timestamp  int64
	Partition  int32
	Offset     int64
}

// equality compares bytes; it tells null from empty unless the reader cannot.
type equality func(a, b []byte) bool

func equalityOf(traits Traits) equality {
	if traits.EmptyIsNull {
		return bytes.Equal
	}
	return func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
}

// difference says in what a read record differs from the sent one, "" when in nothing.
func (same equality) difference(got, want Record) string {
	switch {
	case !same(got.Key, want.Key):
		return fmt.Sprintf("key %.40q, sent %.40q", got.Key, want.Key)
	case !same(got.Value, want.Value):
		return fmt.Sprintf("value of %d bytes %.40q, sent %d bytes %.40q",
			len(got.Value), got.Value, len(want.Value), want.Value)
	case got.Timestamp != want.Timestamp:
		return fmt.Sprintf("timestamp %d, sent %d", got.Timestamp, want.Timestamp)
	case len(got.Headers) != len(want.Headers):
		return fmt.Sprintf("%d headers, sent %d", len(got.Headers), len(want.Headers))
	}
	for i, h := range want.Headers {
		if got.Headers[i].Key != h.Key || !same(got.Headers[i].Value, h.Value) {
			return fmt.Sprintf("header %d is %v, sent %v", i, got.Headers[i], h)
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

func headersOf(index int) []Header {
	if index%5 == 0 {
		return nil
	}
	return []Header{
		{Key: "index", Value: fmt.Append(nil, index)},
		{Key: "dup", Value: []byte("first")},
		{Key: "dup", Value: []byte("second")},
		{Key: "null", Value: nil},
		{Key: "empty", Value: []byte{}},
		{Key: "bytes-ü", Value: []byte{0, 0xff, 0x80}},
	}
}

// standardSet has every kind of key, value, header and timestamp.
func standardSet(name string, partitions int32) []Record {
	rng := seeded(name)
	keys := [][]byte{{0xff, 0, 0xfe}, []byte("ключ"), bytes.Repeat([]byte("k"), 300)}
	for i := range 12 {
		keys = append(keys, fmt.Appendf(nil, "key-%d", i))
	}
	base := time.Now().Add(-time.Hour).UnixMilli()
	out := make([]Record, standardRecords)
	for i := range out {
		r := Record{Partition: -1, Headers: headersOf(i), Timestamp: base + 10*int64(i)}
		switch i % 4 {
		case 0, 1:
			r.Key = keys[rng.IntN(len(keys))]
		case 2:
			r.Partition = int32(i) % partitions
			if i%8 == 2 {
				r.Key = []byte{}
			}
		}
		r.Value = payload(rng, 1+rng.IntN(2000))
		switch i % 11 {
		case 1:
			r.Value = nil
		case 2:
			r.Value = []byte{}
		}
		if i%13 == 12 { // dated before its neighbours
			r.Timestamp -= 5_000
		}
		out[i] = r
	}
	return out
}

func sizeSet(name string, partitions int32) []Record {
	rng := seeded(name)
	base := time.Now().Add(-time.Hour).UnixMilli()
	var out []Record
	for i, size := range valueSizes {
		out = append(out, Record{
			Key: fmt.Appendf(nil, "size-%d", size), Value: payload(rng, size),
			Timestamp: base + int64(i), Partition: int32(i) % partitions,
		})
	}
	return out
}
