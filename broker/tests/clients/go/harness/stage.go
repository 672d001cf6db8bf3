package harness

import (
	"errors"
	"fmt"
	"time"
)

// What a stage holds in each partition of its topic, and what its idle group has committed there.
const (
	StagePartitions = 3
	StageRecords    = 10
	StageCommitted  = 4
)

// Stage is what a broker holds when somebody looks at it: a topic with records, a compacted one, a group that reads and
// has read all, and one that does not any more. Records that nobody sees yet are pending in each partition of the first:
// whoever counts lag counts none of them.
type Stage struct {
	Orders, State   string
	Reading, Closed string
	// StartMs is when the first record of each partition was made; the next ones a second later each.
	StartMs int64
	member  Member
}

// SetStage makes all of it. The member reads until the stage is closed.
func (w *World) SetStage() (*Stage, error) {
	s := &Stage{
		Orders: w.Topic("orders"), State: w.Topic("state"), Reading: w.Topic("reading"), Closed: w.Topic("closed"),
		StartMs: time.Now().Add(-time.Hour).UnixMilli(),
	}
	joiner, joins := w.Client.(Joiner)
	if !joins {
		return nil, errors.New("the library joins no groups")
	}
	var closed Member
	return s, steps(
		func() error {
			return w.MakeTopic(s.Orders, StagePartitions, map[string]string{"retention.ms": "86400000", "delay.mode": "timestamp"})
		},
		func() error { return w.MakeTopic(s.State, 1, map[string]string{"cleanup.policy": "compact"}) },
		func() error { return s.fill(w) },
		func() (err error) { s.member, err = s.read(joiner, s.Reading, StageRecords); return err },
		func() (err error) { closed, err = s.read(joiner, s.Closed, StageCommitted); return err },
		func() error { return closed.Leave() },
	)
}

func (s *Stage) fill(w *World) error {
	var records []Record
	for n := range StageRecords {
		for p := range int32(StagePartitions) {
			records = append(records, Record{
				Key: fmt.Appendf(nil, "k%d", n), Value: fmt.Appendf(nil, `{"n":%d}`, n),
				Timestamp: s.StartMs + int64(n)*1000, Partition: p,
			})
		}
	}
	if _, err := w.Produce(s.Orders, records, "none", "acks=all"); err != nil {
		return err
	}
	var pending []Record
	for p := range int32(StagePartitions) {
		inAnHour := time.Now().Add(time.Hour).UnixMilli()
		pending = append(pending, Record{Value: []byte(`{"n":-1}`), Timestamp: inAnHour, Partition: p})
	}
	_, err := w.Produce(s.Orders, pending, "none", "acks=all")
	return err
}

// read joins a group, reads all and commits an offset of each partition.
func (s *Stage) read(joiner Joiner, group string, committed int64) (Member, error) {
	member, err := joiner.Join(group, s.Orders, false)
	if err != nil {
		return nil, err
	}
	err = until("all is read", []Member{member}, func() bool {
		_, got, _ := member.log().now()
		return len(got) == StagePartitions*StageRecords
	})
	if err != nil {
		return nil, err
	}
	offsets := map[int32]Commit{}
	for p := range int32(StagePartitions) {
		offsets[p] = Commit{Offset: committed}
	}
	ctx, cancel := Deadline(CallTimeout)
	defer cancel()
	return member, member.Commit(ctx, offsets)
}

// Close ends the member.
func (s *Stage) Close() error { return s.member.Leave() }

// StageCases runs cases with a stage around them.
func (w *World) StageCases(cases func(s *Stage) []Case) (bool, error) {
	stage, err := w.SetStage()
	if err != nil {
		return false, err
	}
	ok := RunCases(cases(stage))
	return ok, stage.Close()
}
