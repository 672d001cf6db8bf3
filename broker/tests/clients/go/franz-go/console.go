package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

// What Redpanda Console asks of a broker that is not Redpanda, and what it needs of the answers. Where the calls stand:
// backend/pkg/console of https://github.com/redpanda-data/console, in the file that each case names. Nothing is copied.

// ui is a client that looks at a stage as a console or a monitor does.
type ui struct {
	*world
	stage *harness.Stage
}

func uiCases(w *world, s *harness.Stage) []harness.Case {
	u := &ui{w, s}
	pages := []struct {
		name string
		run  func(context.Context) error
	}{
		{"console/pages", u.consolePages},
		{"console/overview", u.consoleOverview},
		{"console/cluster", u.consoleCluster},
		{"console/topics", u.consoleTopics},
		{"console/topic", u.consoleTopic},
		{"console/topic-settings", u.consoleSettings},
		{"console/messages", u.consoleMessages},
		{"console/groups", u.consoleGroups},
		{"console/edit-group", u.consoleEditGroup},
		{"console/manage-topic", u.consoleManageTopic},
		{"kminion/admin-api", u.kminionAdmin},
		{"kminion/offsets-topic", u.kminionOffsets},
		{"otel/kafkametrics", u.otel},
	}
	var out []harness.Case
	for _, p := range pages {
		out = append(out, w.Named(p.name, func(ctx context.Context, _ string) error { return p.run(ctx) }))
	}
	return out
}

// neededKeys are those without which Console takes a page away.
var neededKeys = []kmsg.Request{
	&kmsg.DescribeConfigsRequest{}, &kmsg.DescribeGroupsRequest{}, &kmsg.ListGroupsRequest{},
	&kmsg.DeleteRecordsRequest{}, &kmsg.OffsetCommitRequest{}, &kmsg.DeleteGroupsRequest{},
	&kmsg.OffsetDeleteRequest{}, &kmsg.IncrementalAlterConfigsRequest{}, &kmsg.DescribeLogDirsRequest{},
}

// endpoint_compatibility.go, commit 01c2c5f8: a page is there if the broker names its keys, and then has to work.
func (u *ui) consolePages(ctx context.Context) error {
	seen, err := u.client.admin.ApiVersions(ctx)
	if err != nil {
		return err
	}
	for _, broker := range seen {
		if broker.Err != nil {
			return broker.Err
		}
		for _, request := range neededKeys {
			_, known := broker.KeyMaxVersion(request.Key())
			if err := harness.Wants(known, "no key %d", request.Key()); err != nil {
				return err
			}
		}
		// Quotas, users, and moving partitions: not offered, so that these pages are away.
		for _, key := range []int16{45, 48, 50, 51} {
			_, known := broker.KeyMaxVersion(key)
			if err := harness.Wants(!known, "key %d is offered and not known to work", key); err != nil {
				return err
			}
		}
	}
	moving, err := u.client.admin.ListPartitionReassignments(ctx, nil)
	return errors.Join(err, harness.Wants(len(moving) == 0, "moving: %v", moving))
}

// healthy is what overview_kafka.go calls so: every topic and partition is whole.
func healthy(all kadm.Metadata) error {
	var faults []error
	all.Topics.EachError(func(t kadm.TopicDetail) { faults = append(faults, t.Err) })
	all.Topics.EachPartition(func(p kadm.PartitionDetail) {
		whole := p.Err == nil && p.Leader >= 0 && p.LeaderEpoch >= 0 && len(p.OfflineReplicas) == 0
		faults = append(faults, harness.Wants(whole && slices.Equal(p.ISR, p.Replicas), "%+v", p))
	})
	return errors.Join(faults...)
}

// overview_kafka.go, commit 0cdaec20; list_acls.go, 1e25c2b5.
func (u *ui) consoleOverview(ctx context.Context) error {
	all, err := u.client.admin.Metadata(ctx)
	if err != nil {
		return err
	}
	acls := kmsg.NewDescribeACLsRequest()
	acls.ResourcePatternType, acls.Operation = kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny
	acls.PermissionType, acls.ResourceType = kmsg.ACLPermissionTypeAny, kmsg.ACLResourceTypeAny
	listed, err := acls.RequestWith(ctx, u.client.shared)
	if err != nil {
		return err
	}
	return errors.Join(
		healthy(all),
		harness.Wants(all.Cluster != "", "no cluster id"),
		harness.Wants(slices.Contains(all.Brokers.NodeIDs(), all.Controller), "controller %d", all.Controller),
		harness.Wants(listed.ErrorCode == kerr.SecurityDisabled.Code, "ACLs: %d", listed.ErrorCode),
	)
}

// logDirs asks every broker, and takes nothing but whole directories.
func (u *ui) logDirs(ctx context.Context, topics []kmsg.DescribeLogDirsRequestTopic) (map[string]int64, error) {
	request := kmsg.NewDescribeLogDirsRequest()
	request.Topics = topics
	sizes := map[string]int64{}
	for _, shard := range u.client.shared.RequestSharded(ctx, &request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		answer, _ := shard.Resp.(*kmsg.DescribeLogDirsResponse)
		for _, dir := range answer.Dirs {
			if err := kerr.ErrorForCode(dir.ErrorCode); err != nil {
				return nil, err
			}
			for _, topic := range dir.Topics {
				for _, p := range topic.Partitions {
					sizes[fmt.Sprintf("%s-%d", topic.Topic, p.Partition)] += p.Size
				}
			}
		}
	}
	return sizes, nil
}

// describe asks for settings with their synonyms and their documentation; no names are all.
func (u *ui) describe(
	ctx context.Context, kind kmsg.ConfigResourceType, names []string, of ...string,
) (*kmsg.DescribeConfigsResponse, error) {
	request := kmsg.NewDescribeConfigsRequest()
	request.IncludeSynonyms, request.IncludeDocumentation = true, true
	for _, name := range of {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName, resource.ConfigNames = kind, name, names
		request.Resources = append(request.Resources, resource)
	}
	answer, err := request.RequestWith(ctx, u.client.shared)
	if err != nil {
		return nil, err
	}
	for _, resource := range answer.Resources {
		err = errors.Join(err, kerr.ErrorForCode(resource.ErrorCode))
	}
	return answer, errors.Join(err, harness.Wants(len(answer.Resources) == len(of), "%d", len(answer.Resources)))
}

// cluster_info.go, commit 1801f899; broker_config.go, 0865e070: types and sources of each setting are shown.
func (u *ui) consoleCluster(ctx context.Context) error {
	sizes, err := u.logDirs(ctx, nil)
	if err != nil {
		return err
	}
	if err := harness.Wants(sizes[u.stage.Orders+"-0"] > 0, "sizes %v", sizes); err != nil {
		return err
	}
	brokers, err := u.client.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	for _, broker := range brokers {
		answer, err := u.describe(ctx, kmsg.ConfigResourceTypeBroker, nil, fmt.Sprint(broker.NodeID))
		if err != nil {
			return err
		}
		for _, s := range answer.Resources[0].Configs {
			typed := s.ConfigType != kmsg.ConfigTypeUnknown && s.Source != kmsg.ConfigSourceUnknown
			documented := s.Documentation != nil && *s.Documentation != ""
			if err := harness.Wants(typed && documented, "%s: %+v", s.Name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// topic_overview.go, commit 0526c192: it takes the value of cleanup.policy, and the first partition, without a look.
func (u *ui) consoleTopics(ctx context.Context) error {
	all, err := u.client.admin.Metadata(ctx)
	if err != nil {
		return err
	}
	answer, err := u.describe(ctx, kmsg.ConfigResourceTypeTopic, []string{"cleanup.policy"}, all.Topics.Names()...)
	if err != nil {
		return err
	}
	policies := map[string]string{}
	for _, resource := range answer.Resources {
		only := len(resource.Configs) == 1 && resource.Configs[0].Value != nil
		if err := harness.Wants(only, "%+v", resource); err != nil {
			return err
		}
		policies[resource.ResourceName] = *resource.Configs[0].Value
	}
	for name, topic := range all.Topics {
		if err := harness.Wants(len(topic.Partitions) > 0, "%s has no partitions", name); err != nil {
			return err
		}
	}
	right := policies[u.stage.Orders] == "delete" && policies[u.stage.State] == "compact"
	return harness.Wants(right, "policies %v", policies)
}

// topic_partitions.go, commit 091b19cc; kafka/water_mark.go: both ends, and a size of every replica.
func (u *ui) consoleTopic(ctx context.Context) error {
	one := kmsg.NewDescribeLogDirsRequestTopic()
	one.Topic, one.Partitions = u.stage.Orders, []int32{0, 1, 2}
	sizes, err := u.logDirs(ctx, []kmsg.DescribeLogDirsRequestTopic{one})
	if err != nil {
		return err
	}
	lows, err := u.client.admin.ListStartOffsets(ctx, u.stage.Orders)
	if err != nil {
		return err
	}
	highs, err := u.client.admin.ListEndOffsets(ctx, u.stage.Orders)
	if err != nil {
		return err
	}
	for p := range int32(harness.StagePartitions) {
		low, _ := lows.Lookup(u.stage.Orders, p)
		high, _ := highs.Lookup(u.stage.Orders, p)
		marks := low.Err == nil && high.Err == nil && low.Offset == 0 && high.Offset == harness.StageRecords
		sized := sizes[fmt.Sprintf("%s-%d", u.stage.Orders, p)] > 0
		if err := harness.Wants(marks && sized, "%+v, %+v, %v", low, high, sizes); err != nil {
			return err
		}
	}
	unknown, err := u.client.admin.Metadata(ctx, u.Topic("none"))
	if err != nil {
		return err
	}
	told := unknown.Topics[u.Topic("none")].Err
	return harness.Wants(errors.Is(told, kerr.UnknownTopicOrPartition), "of an unknown topic: %v", told)
}

// topic_config.go, commit 0526c192; edit_topic_config.go, incremental_alter_topic_configs.go.
func (u *ui) consoleSettings(ctx context.Context) error {
	set := func(change kadm.AlterConfig) error {
		answer, err := u.client.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, u.stage.State)
		if err != nil {
			return err
		}
		return answer[0].Err
	}
	source := func() (kmsg.ConfigSource, error) {
		answer, err := u.describe(ctx, kmsg.ConfigResourceTypeTopic, nil, u.stage.State)
		if err != nil {
			return 0, err
		}
		for _, s := range answer.Resources[0].Configs {
			if s.Name == "max.message.bytes" {
				return s.Source, nil
			}
		}
		return 0, errors.New("max.message.bytes is not described")
	}
	larger := kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kmsg.StringPtr("9999")}
	if err := set(larger); err != nil {
		return err
	}
	now, err := source()
	if err := errors.Join(err, harness.Wants(now == kmsg.ConfigSourceDynamicTopicConfig, "%v", now)); err != nil {
		return err
	}
	if err := set(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "max.message.bytes"}); err != nil {
		return err
	}
	now, err = source()
	return errors.Join(err, harness.Wants(now == kmsg.ConfigSourceDefaultConfig, "%v", now))
}

// list_messages.go, commit 01ba59b6; kafka/consumer.go: from a time, then everything between the marks.
func (u *ui) consoleMessages(ctx context.Context) error {
	found, err := u.client.admin.ListOffsetsAfterMilli(ctx, u.stage.StartMs+6_500, u.stage.Orders)
	if err != nil {
		return err
	}
	places := map[int32]kgo.Offset{}
	for p := range int32(harness.StagePartitions) {
		at, _ := found.Lookup(u.stage.Orders, p)
		if err := errors.Join(at.Err, harness.Wants(at.Offset == 7, "%+v", at)); err != nil {
			return err
		}
		places[p] = kgo.NewOffset().At(at.Offset)
	}
	reader, err := kgo.NewClient(
		kgo.SeedBrokers(u.Bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{u.stage.Orders: places}),
	)
	if err != nil {
		return err
	}
	defer reader.Close()
	seen := 0
	for seen < 3*harness.StagePartitions && ctx.Err() == nil {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(*kgo.Record) { seen++ })
	}
	return harness.Wants(seen == 3*harness.StagePartitions, "%d records", seen)
}
