package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

// groupIDs asks every broker for its groups, and takes nothing but a whole list.
func (u *ui) groupIDs(ctx context.Context) ([]string, error) {
	var out []string
	for _, shard := range u.client.shared.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		answer, _ := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			return nil, err
		}
		for _, g := range answer.Groups {
			out = append(out, g.Group)
		}
	}
	return out, nil
}

func (u *ui) describeGroups(ctx context.Context, ids ...string) ([]kmsg.DescribeGroupsResponseGroup, error) {
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups, request.IncludeAuthorizedOperations = ids, true
	var out []kmsg.DescribeGroupsResponseGroup
	for _, shard := range u.client.shared.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		answer, _ := shard.Resp.(*kmsg.DescribeGroupsResponse)
		out = append(out, answer.Groups...)
	}
	return out, nil
}

// consumer_group_overview.go, commit 0bd0c234; consumer_group_offsets.go, 05fc6cb6: the assignment of each member is
// decoded here, and lag is what lies between marks and commits.
func (u *ui) consoleGroups(ctx context.Context) error {
	ids, err := u.groupIDs(ctx)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	due := []string{u.stage.Closed, u.stage.Reading}
	if err := harness.Wants(slices.Equal(ids, due), "groups %v", ids); err != nil {
		return err
	}
	described, err := u.describeGroups(ctx, ids...)
	if err != nil {
		return err
	}
	for _, g := range described {
		if err := u.checkGroup(g); err != nil {
			return err
		}
	}
	return u.checkLags(ctx, ids)
}

func (u *ui) checkGroup(g kmsg.DescribeGroupsResponseGroup) error {
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		return err
	}
	if g.Group == u.stage.Closed {
		return harness.Wants(g.State == "Empty" && len(g.Members) == 0, "%+v", g)
	}
	reads := g.State == "Stable" && g.ProtocolType == "consumer" && g.Protocol != ""
	if err := harness.Wants(reads, "%+v", g); err != nil {
		return err
	}
	assigned := 0
	for _, m := range g.Members {
		var decoded kmsg.ConsumerMemberAssignment
		if err := decoded.ReadFrom(m.MemberAssignment); err != nil {
			return err
		}
		for _, topic := range decoded.Topics {
			assigned += len(topic.Partitions)
		}
		if err := harness.Wants(m.ClientID != "" && m.ClientHost != "", "%+v", m); err != nil {
			return err
		}
	}
	return harness.Wants(assigned == harness.StagePartitions, "%d partitions are assigned", assigned)
}

func (u *ui) checkLags(ctx context.Context, ids []string) error {
	fetched := u.client.admin.FetchManyOffsets(ctx, ids...)
	if err := fetched.Error(); err != nil {
		return err
	}
	topics := fetched.CommittedPartitions().Topics()
	known, err := u.client.admin.Metadata(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := u.client.admin.ListEndOffsets(ctx, known.Topics.Names()...)
	if err != nil {
		return err
	}
	behind := int64(harness.StageRecords - harness.StageCommitted)
	for group, due := range map[string]int64{u.stage.Reading: 0, u.stage.Closed: behind} {
		for p := range int32(harness.StagePartitions) {
			end, _ := ends.Lookup(u.stage.Orders, p)
			at, there := fetched[group].Fetched.Lookup(u.stage.Orders, p)
			right := there && at.Err == nil && end.Err == nil && end.Offset-at.At == due
			if err := harness.Wants(right, "%s: %+v, end %+v", group, at, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// edit_consumer_group_offsets.go, commit 0bd0c234; delete_consumer_group_offsets.go, consumer_group_delete.go.
func (u *ui) consoleEditGroup(ctx context.Context) error {
	described, err := u.describeGroups(ctx, u.stage.Closed)
	if err != nil {
		return err
	}
	if err := harness.Wants(strings.EqualFold(described[0].State, "empty"), "%+v", described[0]); err != nil {
		return err
	}
	var wanted kadm.Offsets
	for p := range int32(harness.StagePartitions) {
		wanted.Add(kadm.Offset{Topic: u.stage.Orders, Partition: p, At: 2, LeaderEpoch: -1})
	}
	if err := u.client.admin.CommitAllOffsets(ctx, u.stage.Closed, wanted); err != nil {
		return err
	}
	now, err := u.client.admin.FetchOffsets(ctx, u.stage.Closed)
	if err != nil {
		return err
	}
	at, _ := now.Lookup(u.stage.Orders, 1)
	if err := errors.Join(at.Err, harness.Wants(at.At == 2, "%+v", at)); err != nil {
		return err
	}
	var one kadm.TopicsSet
	one.Add(u.stage.Orders, 1)
	deleted, err := u.client.admin.DeleteOffsets(ctx, u.stage.Closed, one)
	if err := errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	// One with members is refused by its name.
	alive, err := u.client.admin.DeleteGroups(ctx, u.stage.Reading)
	if err != nil {
		return err
	}
	told := alive[u.stage.Reading].Err
	if err := harness.Wants(errors.Is(told, kerr.NonEmptyGroup), "a group with members: %v", told); err != nil {
		return err
	}
	_, err = u.client.admin.DeleteGroup(ctx, u.stage.Closed)
	return err
}

// create_topic.go, topic_partitions.go, delete_topic_records.go, delete_topic.go.
func (u *ui) consoleManageTopic(ctx context.Context) error {
	name, admin := u.Topic("made"), u.client.admin
	days := "172800000"
	if _, err := admin.CreateTopic(ctx, 2, -1, map[string]*string{"retention.ms": &days}, name); err != nil {
		return err
	}
	checked, err := admin.ValidateUpdatePartitions(ctx, 4, name)
	if err := errors.Join(err, checked.Error()); err != nil {
		return err
	}
	grown, err := admin.CreatePartitions(ctx, 1, name)
	if err := errors.Join(err, grown.Error()); err != nil {
		return err
	}
	now, err := admin.Metadata(ctx, name)
	if err != nil {
		return err
	}
	if err := harness.Wants(len(now.Topics[name].Partitions) == 3, "%+v", now.Topics[name]); err != nil {
		return err
	}
	var ends kadm.Offsets
	ends.Add(kadm.Offset{Topic: name, Partition: 0, At: 0})
	deleted, err := admin.DeleteRecords(ctx, ends)
	if err := errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	_, err = admin.DeleteTopic(ctx, name)
	return err
}
