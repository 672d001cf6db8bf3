// Package harness is what all Go client programs share: the records, the cases and the comparison.
// A program brings a Client, which is its library behind one face; nothing here imports a library.
package harness

import (
	"context"
	"fmt"
	"time"
)

// Offsets that a Client is asked for by name instead of by a time.
const (
	Latest   = -1
	Earliest = -2
)

// Error codes of the protocol that cases expect.
const (
	OffsetOutOfRange         = 1
	UnknownTopicOrPartition  = 3
	MessageTooLarge          = 10
	InvalidTopic             = 17
	TopicAlreadyExists       = 36
	InvalidPartitions        = 37
	InvalidReplicationFactor = 38
	InvalidConfig            = 40
	InvalidRequest           = 42
	NonEmptyGroup            = 68
	GroupIDNotFound          = 69
	ElectionNotNeeded        = 84
)

const (
	// CallTimeout bounds one call of an admin API.
	CallTimeout = 20 * time.Second
	// ReadTimeout bounds reading what must be there.
	ReadTimeout = 20 * time.Second
	// quiet is how long a reader at the end is watched for records that must not come.
	quiet = 300 * time.Millisecond
	// pause lies between two looks at something that Apache Kafka does a moment later.
	pause = 50 * time.Millisecond
)

// Topic is a topic to be created. Partitions and Replicas -1 ask for the broker's defaults.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Settings   map[string]string
	// Check has the broker say what it would answer, and create nothing.
	Check bool
}

// Partition is what Metadata says about one partition.
type Partition struct {
	Leader        int32
	Replicas, ISR []int32
}

// Description is what Metadata says about a topic; ID is zero where the library does not show it.
type Description struct {
	Internal   bool
	ID         [16]byte
	Partitions []Partition
}

// Setting is a configuration value; IsDefault where nobody has set it.
type Setting struct {
	Value     string
	IsDefault bool
}

// Change sets a value, or deletes it where Value is nil.
type Change struct {
	Name  string
	Value *string
}

// Place is where a record was acknowledged; Offset is -1 where the library does not say, as at acks=0.
type Place struct {
	Partition int32
	Offset    int64
}

// Traits are what a library offers, out of the lists that all clients share.
type Traits struct {
	Codecs, Modes []string
	// TopicIDs: Description.ID is filled in.
	TopicIDs bool
	// Defaults: CreateTopics is sent in a version that knows partitions and replicas of -1.
	Defaults bool
	// EmptyIsNull: what is empty is read as null.
	EmptyIsNull bool
	// Incremental: ChangeSettings is offered.
	Incremental bool
	// TextOnly: an error of ReplaceSettings is the broker's text, its code is lost.
	TextOnly bool
	// CommitTexts: the library commits texts with offsets.
	CommitTexts bool
	// KeepsGroups: the protocol it speaks by default cannot delete groups.
	KeepsGroups bool
}

// Client is a library behind one face. Errors of the broker keep their code, which Code finds.
type Client interface {
	Traits() Traits
	// Code is the protocol's error code of an error: 0 of nil, -1 where it is not the broker's.
	Code(err error) int16

	Create(ctx context.Context, topic Topic) error
	Delete(ctx context.Context, topic string) error
	// Describe asks the broker, not a cache, and creates nothing.
	Describe(ctx context.Context, topic string) (Description, error)
	// Settings of a topic, or of the broker where topic is "".
	Settings(ctx context.Context, topic string) (map[string]Setting, error)
	// Cluster gives the ids of the brokers and of the controller.
	Cluster(ctx context.Context) ([]int32, int32, error)
	// Offset at Latest, Earliest or the first record at or after a time in milliseconds; -1: none.
	Offset(ctx context.Context, topic string, partition int32, at int64) (int64, error)

	// ReplaceSettings sets these values and deletes all others (AlterConfigs); topic "": of the broker.
	ReplaceSettings(ctx context.Context, topic string, values map[string]string) error
	// ChangeSettings leaves other values alone (IncrementalAlterConfigs).
	ChangeSettings(ctx context.Context, topic string, changes []Change) error
	// Grow gives a topic so many partitions; check only asks whether that would do.
	Grow(ctx context.Context, topic string, partitions int32, check bool) error

	// Produce sends in order, waits for all and says where each went.
	Produce(topic string, records []Record, codec, mode string) ([]Place, error)
	// AutoCreate sends one record to a topic that is not there, as the library does it.
	AutoCreate(ctx context.Context, topic string) error
	// Read takes up to count records of a partition from an offset on, within the limit.
	Read(topic string, partition int32, offset int64, count int, limit time.Duration) ([]Record, error)
	Close()
}

// World is the broker under test and what every mode needs to reach it.
type World struct {
	Client
	Bootstrap, Prefix string
	Partitions        int32
	// Settle waits for leaders of new topics and for the end of deleted ones, as Apache Kafka needs.
	Settle bool
}

// Topic is the name of a topic of this run.
func (w *World) Topic(name string) string { return w.Prefix + "-" + name }

// Deadline is a context that ends after the limit.
func Deadline(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

// Wants turns "this must be so" into an error.
func Wants(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// TopicSettings are those of topics that cases write: small segments, and old records stay.
func TopicSettings() map[string]string {
	return map[string]string{"segment.bytes": "1048576", "retention.ms": "-1"}
}

// MakeTopic makes a topic that can be written and read at once.
func (w *World) MakeTopic(name string, partitions int32, settings map[string]string) error {
	ctx, cancel := Deadline(CallTimeout)
	defer cancel()
	err := w.Create(ctx, Topic{Name: name, Partitions: partitions, Replicas: 1, Settings: settings})
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return w.untilServed(ctx, name, partitions)
}

// untilServed: Apache Kafka answers CreateTopics before the new leaders serve.
func (w *World) untilServed(ctx context.Context, name string, partitions int32) error {
	if !w.Settle {
		return nil
	}
	return w.shows(ctx, func() error {
		_, err := w.Ends(name, partitions)
		return err
	})
}

// Ends are the end offsets of a topic's partitions.
func (w *World) Ends(topic string, partitions int32) ([]int64, error) {
	ctx, cancel := Deadline(CallTimeout)
	defer cancel()
	out := make([]int64, partitions)
	for p := range out {
		end, err := w.Offset(ctx, topic, int32(p), Latest)
		if err != nil {
			return nil, fmt.Errorf("end of %s-%d: %w", topic, p, err)
		}
		out[p] = end
	}
	return out, nil
}
