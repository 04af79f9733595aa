// kafka-go. Its producer is not idempotent.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"reka.invalid/compat-clients/plan"
)

const prefix = "kafka-go-"

var address = os.Args[1]

var client = &kafka.Client{Addr: kafka.TCP(address), Timeout: plan.Answer}

var codecs = map[string]kafka.Compression{
	"gzip":   kafka.Gzip,
	"snappy": kafka.Snappy,
	"lz4":    kafka.Lz4,
	"zstd":   kafka.Zstd,
}

// say tells on standard error how a group goes.
var say = kafka.LoggerFunc(func(format string, values ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("05.000 ")+format+"\n", values...)
})

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), plan.Answer)
}

func produce(topic, codec string, records []plan.Record) error {
	transport := &kafka.Transport{MetadataTTL: 200 * time.Millisecond}
	defer transport.CloseIdleConnections()
	writer := &kafka.Writer{
		Addr:         kafka.TCP(address),
		Topic:        topic,
		RequiredAcks: kafka.RequireAll,
		Compression:  codecs[codec],
		BatchTimeout: 20 * time.Millisecond,
		Transport:    transport,
		Balancer: kafka.BalancerFunc(func(m kafka.Message, _ ...int) int {
			return m.WriterData.(int)
		}),
	}
	var out []kafka.Message
	for _, r := range records {
		message := kafka.Message{Key: r.Key, Value: r.Value, WriterData: r.Partition}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: h.Name, Value: []byte(h.Value)})
		}
		out = append(out, message)
	}
	ctx, cancel := limit()
	defer cancel()
	return errors.Join(writer.WriteMessages(ctx, out...), writer.Close())
}

func consume(codec string) error {
	ctx, cancel := limit()
	defer cancel()
	var found []plan.Record
	for p := range plan.CodecPartitions {
		reader := kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{address}, Topic: prefix + codec, Partition: p, MaxWait: 200 * time.Millisecond,
		})
		for range plan.Records / plan.CodecPartitions {
			m, err := reader.ReadMessage(ctx)
			if err != nil {
				return errors.Join(fmt.Errorf("after %d records: %w", len(found), err), reader.Close())
			}
			record := plan.Record{Partition: p, Offset: m.Offset, Key: m.Key, Value: m.Value}
			for _, h := range m.Headers {
				record.Headers = append(record.Headers, plan.Header{Name: h.Key, Value: string(h.Value)})
			}
			found = append(found, record)
		}
		if err := reader.Close(); err != nil {
			return err
		}
	}
	return plan.SameRecords(codec, found)
}

// member takes part through kafka-go's ConsumerGroup, which tells its assignment, unlike its Reader.
type member struct {
	*plan.Fed
	topic string
	group *kafka.ConsumerGroup
	ended chan struct{}
	leave context.CancelFunc

	mutex      sync.Mutex
	generation *kafka.Generation
	read       map[int]int64
}

func newMember(topic, name string) (plan.Consumer, error) {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                name,
		Brokers:           []string{address},
		Topics:            []string{topic},
		HeartbeatInterval: 300 * time.Millisecond,
		SessionTimeout:    60 * time.Second,
		RebalanceTimeout:  60 * time.Second,
		JoinGroupBackoff:  300 * time.Millisecond,
		StartOffset:       kafka.FirstOffset,
		Logger:            say,
		ErrorLogger:       say,
	})
	if err != nil {
		return nil, err
	}
	staying, leave := context.WithCancel(context.Background())
	m := &member{Fed: plan.NewFed(), topic: topic, group: group, ended: make(chan struct{}), leave: leave}
	go func() {
		defer close(m.ended)
		for {
			generation, err := group.Next(staying)
			// A coordinator that still loads, a rebalance between join and sync: kafka-go's own
			// Reader tries again whatever a broker says.
			var told kafka.Error
			if errors.As(err, &told) {
				continue
			}
			if err != nil {
				if staying.Err() == nil && !errors.Is(err, kafka.ErrGroupClosed) {
					m.Fail(err)
				}
				return
			}
			m.begin(generation)
		}
	}()
	return m, nil
}

func (m *member) begin(generation *kafka.Generation) {
	m.mutex.Lock()
	m.generation, m.read = generation, map[int]int64{}
	m.mutex.Unlock()
	var partitions []int32
	for _, assignment := range generation.Assignments[m.topic] {
		partitions = append(partitions, int32(assignment.ID))
		generation.Start(func(ctx context.Context) { m.consume(ctx, assignment) })
	}
	m.Assign(partitions)
}

func (m *member) consume(ctx context.Context, assignment kafka.PartitionAssignment) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{address}, Topic: m.topic, Partition: assignment.ID, MaxWait: 200 * time.Millisecond,
	})
	err := reader.SetOffset(assignment.Offset)
	for err == nil {
		var message kafka.Message
		if message, err = reader.ReadMessage(ctx); err == nil && m.Feed(ctx, string(message.Value)) {
			m.mutex.Lock()
			m.read[assignment.ID] = message.Offset + 1
			m.mutex.Unlock()
		}
	}
	// The end of a generation is how this is meant to end.
	if err := errors.Join(err, reader.Close()); ctx.Err() == nil {
		m.Fail(err)
	}
}

func (m *member) Commit() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.generation == nil {
		return errors.New("no generation to commit in")
	}
	return m.generation.CommitOffsets(map[string]map[int]int64{m.topic: m.read})
}

func (m *member) Close() error {
	m.leave()
	err := m.group.Close()
	<-m.ended
	return err
}

func topics(ctx context.Context, names ...string) (map[string]kafka.Topic, error) {
	metadata, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, err
	}
	found := map[string]kafka.Topic{}
	for _, topic := range metadata.Topics {
		if topic.Error == nil && strings.HasPrefix(topic.Name, prefix) {
			found[topic.Name] = topic
		}
	}
	return found, nil
}

func all(errs map[string]error) error {
	var found []error
	for name, err := range errs {
		if err != nil {
			found = append(found, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(found...)
}

func describeGroup(ctx context.Context, topic, group string) error {
	groups, err := client.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err != nil {
		return err
	}
	listed := false
	for _, one := range groups.Groups {
		listed = listed || one.GroupID == group
	}
	if !listed {
		return errors.New("the group is not listed")
	}
	described, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	if err := plan.Same("groups", 1, len(described.Groups)); err != nil {
		return err
	}
	if err := plan.Same("state", "Empty", described.Groups[0].GroupState); err != nil {
		return err
	}
	offsets, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
	if err != nil {
		return err
	}
	if err := plan.Same("partitions", plan.GroupPartitions, len(offsets.Topics[topic])); err != nil {
		return err
	}
	for _, p := range offsets.Topics[topic] {
		if err := plan.Same("committed offset", int64(plan.Committed), p.CommittedOffset); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	checks := &plan.Checks{}
	classic, group := prefix+"classic", prefix+"group-classic"
	created := []kafka.TopicConfig{
		{Topic: classic, NumPartitions: plan.GroupPartitions, ReplicationFactor: 1},
		{Topic: prefix + "small", NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "1000"}}},
	}
	for _, codec := range plan.Codecs {
		created = append(created, kafka.TopicConfig{
			Topic: prefix + codec, NumPartitions: plan.CodecPartitions, ReplicationFactor: 1})
	}
	feed := func(records []plan.Record) error { return produce(classic, "none", records) }
	make := func() (plan.Consumer, error) { return newMember(classic, group) }
	waitFor := func(ctx context.Context, what string, count int) error {
		return plan.Wait(what, plan.Answer, func() (bool, error) {
			found, err := topics(ctx)
			return len(found) == count, err
		})
	}
	expect := func(wanted error, found error) error {
		var each kafka.WriteErrors
		if errors.As(found, &each) && len(each) == 1 {
			found = each[0]
		}
		if errors.Is(found, wanted) {
			return nil
		}
		return fmt.Errorf("expected %v, found %v", wanted, found)
	}
	// run gives the step a context with a deadline.
	run := func(name string, step func(context.Context) error) {
		checks.Run(name, func() error {
			ctx, cancel := limit()
			defer cancel()
			return step(ctx)
		})
	}

	run("create topics", func(ctx context.Context) error {
		answer, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: created})
		if err != nil {
			return err
		}
		if err := all(answer.Errors); err != nil {
			return err
		}
		return waitFor(ctx, "the topics are listed", len(created))
	})
	for _, codec := range plan.Codecs {
		checks.Run("produce "+codec, func() error { return produce(prefix+codec, codec, plan.ForCodec(codec)) })
		checks.Run("consume "+codec, func() error { return consume(codec) })
	}
	checks.Run("classic group", func() error { return plan.TwoMembers(make, feed) })
	checks.RunAfter("classic group", "classic group resumes", func() error { return plan.Resumes(make, feed) })
	run("describe classic group", func(ctx context.Context) error { return describeGroup(ctx, classic, group) })
	run("describe topics", func(ctx context.Context) error {
		found, err := topics(ctx, classic)
		if err != nil {
			return err
		}
		if err := plan.Same("partitions", plan.GroupPartitions, len(found[classic].Partitions)); err != nil {
			return err
		}
		configs, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
			Resources: []kafka.DescribeConfigRequestResource{{
				ResourceType: kafka.ResourceTypeTopic, ResourceName: prefix + "small",
				ConfigNames: []string{"max.message.bytes"},
			}}})
		if err != nil {
			return err
		}
		for _, resource := range configs.Resources {
			for _, entry := range resource.ConfigEntries {
				return plan.Same(entry.ConfigName, "1000", entry.ConfigValue)
			}
		}
		return errors.New("max.message.bytes is not told")
	})
	checks.Run("unknown topic", func() error {
		return expect(kafka.UnknownTopicOrPartition, produce(prefix+"absent", "none", plan.ForGroup(0, 1)))
	})
	checks.Run("too large", func() error {
		large := []plan.Record{{Value: []byte(fmt.Sprintf("%5000d", 0))}}
		return expect(kafka.MessageSizeTooLarge, produce(prefix+"small", "none", large))
	})
	run("delete topics", func(ctx context.Context) error {
		var names []string
		for _, topic := range created {
			names = append(names, topic.Topic)
		}
		answer, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: names})
		if err != nil {
			return err
		}
		if err := all(answer.Errors); err != nil {
			return err
		}
		return waitFor(ctx, "the topics are gone", 0)
	})
	checks.Leave()
}
