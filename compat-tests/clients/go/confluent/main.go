// confluent-kafka-go: the librdkafka it brings along, behind Go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"reka.invalid/compat-clients/plan"
)

const prefix = "confluent-go-"

var address = os.Args[1]

const pollMs = 200

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), plan.Answer)
}

func settings(more kafka.ConfigMap) *kafka.ConfigMap {
	all := kafka.ConfigMap{"bootstrap.servers": address}
	for name, value := range more {
		all[name] = value
	}
	return &all
}

func newProducer(codec string, more kafka.ConfigMap) (*kafka.Producer, error) {
	all := kafka.ConfigMap{
		"acks":                              "all",
		"enable.idempotence":                true,
		"compression.type":                  codec,
		"linger.ms":                         20,
		"message.timeout.ms":                60000,
		"topic.metadata.propagation.max.ms": 1000,
		// What could not be delivered is told by its delivery report.
		"go.logs.channel.enable": false,
	}
	for name, value := range more {
		all[name] = value
	}
	return kafka.NewProducer(settings(all))
}

// deliver produces and waits for what became of each record; the first refusal.
func deliver(producer *kafka.Producer, topic string, records []plan.Record) error {
	told := make(chan kafka.Event, len(records))
	for _, r := range records {
		message := &kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: int32(r.Partition)},
			Key:            r.Key,
			Value:          r.Value,
		}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: h.Name, Value: []byte(h.Value)})
		}
		if err := producer.Produce(message, told); err != nil {
			return err
		}
	}
	end := time.After(plan.Answer)
	for range records {
		select {
		case event := <-told:
			message, ok := event.(*kafka.Message)
			if !ok {
				return fmt.Errorf("%v instead of a delivery report", event)
			}
			if err := message.TopicPartition.Error; err != nil {
				return err
			}
		case <-end:
			return fmt.Errorf("not every record was delivered after %s", plan.Answer)
		}
	}
	return nil
}

func produce(topic, codec string, records []plan.Record) error {
	producer, err := newProducer(codec, nil)
	if err != nil {
		return err
	}
	defer producer.Close()
	return deliver(producer, topic, records)
}

// read hands over every record of one partition or of several, until enough says so.
func read(topic string, partitions int, more kafka.ConfigMap, enough func(*kafka.Message) bool) error {
	all := kafka.ConfigMap{"group.id": prefix + "reader", "enable.auto.commit": false, "check.crcs": true}
	for name, value := range more {
		all[name] = value
	}
	consumer, err := kafka.NewConsumer(settings(all))
	if err != nil {
		return err
	}
	defer consumer.Close()
	var from []kafka.TopicPartition
	for p := range int32(partitions) {
		from = append(from, kafka.TopicPartition{Topic: &topic, Partition: p, Offset: 0})
	}
	if err := consumer.Assign(from); err != nil {
		return err
	}
	end := time.Now().Add(plan.Answer)
	for time.Now().Before(end) {
		switch event := consumer.Poll(pollMs).(type) {
		case *kafka.Message:
			if enough(event) {
				return nil
			}
		case kafka.Error:
			return event
		}
	}
	return fmt.Errorf("not read to its end after %s: %s", plan.Answer, topic)
}

func consume(codec string) error {
	var found []plan.Record
	err := read(prefix+codec, plan.CodecPartitions, nil, func(m *kafka.Message) bool {
		record := plan.Record{
			Partition: int(m.TopicPartition.Partition),
			Offset:    int64(m.TopicPartition.Offset),
			Key:       m.Key,
			Value:     m.Value,
		}
		for _, h := range m.Headers {
			record.Headers = append(record.Headers, plan.Header{Name: h.Key, Value: string(h.Value)})
		}
		found = append(found, record)
		return len(found) == plan.Records
	})
	if err != nil {
		return fmt.Errorf("after %d records: %w", len(found), err)
	}
	return plan.SameRecords(codec, found)
}

type member struct {
	consumer   *kafka.Consumer
	mutex      sync.Mutex
	rebalances int
}

func newMember(topic string, more kafka.ConfigMap) (*member, error) {
	all := kafka.ConfigMap{"auto.offset.reset": "earliest", "enable.auto.commit": false}
	for name, value := range more {
		all[name] = value
	}
	consumer, err := kafka.NewConsumer(settings(all))
	if err != nil {
		return nil, err
	}
	m := &member{consumer: consumer}
	// Who only counts leaves it to the client what is assigned.
	count := func(_ *kafka.Consumer, event kafka.Event) error {
		if _, ok := event.(kafka.AssignedPartitions); ok {
			m.mutex.Lock()
			m.rebalances++
			m.mutex.Unlock()
		}
		return nil
	}
	return m, consumer.SubscribeTopics([]string{topic}, count)
}

func (m *member) Poll() ([]string, error) {
	var values []string
	for end := time.Now().Add(pollMs * time.Millisecond); time.Now().Before(end); {
		switch event := m.consumer.Poll(pollMs / 4).(type) {
		case *kafka.Message:
			values = append(values, string(event.Value))
		case kafka.Error:
			return values, event
		}
	}
	return values, nil
}

func (m *member) Assigned() []int32 {
	assigned, err := m.consumer.Assignment()
	if err != nil {
		return nil
	}
	var partitions []int32
	for _, of := range assigned {
		partitions = append(partitions, of.Partition)
	}
	return partitions
}

func (m *member) Commit() error {
	_, err := m.consumer.Commit()
	return err
}

func (m *member) Close() error { return m.consumer.Close() }

func (m *member) Rebalances() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.rebalances
}

func transactional(name string) (*kafka.Producer, error) {
	producer, err := newProducer("none", kafka.ConfigMap{
		"transactional.id":       prefix + name,
		"transaction.timeout.ms": 60000,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := limit()
	defer cancel()
	return producer, producer.InitTransactions(ctx)
}

// committed compares what a reader of committed data is given of a topic, up to its end.
func committed(topic string, expected []string) error {
	var found []string
	err := read(topic, 1, kafka.ConfigMap{"isolation.level": "read_committed"}, func(m *kafka.Message) bool {
		found = append(found, string(m.Value))
		return len(found) == len(expected)
	})
	if err != nil {
		return fmt.Errorf("after %d records: %w", len(found), err)
	}
	return plan.Same("records", expected, found)
}

// transform consumes, transforms and produces; every third transaction is taken back.
func transform() error {
	const count = 60
	in, out, group := prefix+"in", prefix+"out", prefix+"transform"
	var records []plan.Record
	var expected []string
	for n := range count {
		records = append(records, plan.Record{Value: []byte(fmt.Sprint(n))})
		expected = append(expected, fmt.Sprintf("%d!", n))
	}
	if err := produce(in, "none", records); err != nil {
		return err
	}
	reader, err := newMember(in, kafka.ConfigMap{"group.id": group, "isolation.level": "read_committed"})
	if err != nil {
		return err
	}
	defer reader.Close()
	producer, err := transactional("transform")
	if err != nil {
		return err
	}
	defer producer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), plan.Deadline)
	defer cancel()
	for done, number := 0, 0; done < count; {
		var batch []*kafka.Message
		for len(batch) < 7 && done+len(batch) < count && ctx.Err() == nil {
			switch event := reader.consumer.Poll(pollMs).(type) {
			case *kafka.Message:
				batch = append(batch, event)
			case kafka.Error:
				return event
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d records: %w", done, err)
		}
		number++
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		var transformed []plan.Record
		for _, message := range batch {
			transformed = append(transformed, plan.Record{Value: append(slices.Clone(message.Value), '!')})
		}
		if err := deliver(producer, out, transformed); err != nil {
			return err
		}
		metadata, err := reader.consumer.GetConsumerGroupMetadata()
		if err != nil {
			return err
		}
		next := batch[len(batch)-1].TopicPartition
		next.Offset++
		if err := producer.SendOffsetsToTransaction(ctx, []kafka.TopicPartition{next}, metadata); err != nil {
			return err
		}
		if number%3 == 2 {
			if err := producer.AbortTransaction(ctx); err != nil {
				return err
			}
			if err := reader.consumer.Seek(batch[0].TopicPartition, 0); err != nil {
				return err
			}
			continue
		}
		if err := producer.CommitTransaction(ctx); err != nil {
			return err
		}
		done += len(batch)
	}
	kept, err := reader.consumer.Committed([]kafka.TopicPartition{{Topic: &in, Partition: 0}}, int(plan.Answer.Milliseconds()))
	if err != nil {
		return err
	}
	if err := plan.Same("committed offset", int64(count), int64(kept[0].Offset)); err != nil {
		return err
	}
	return committed(out, expected)
}

func fenced() error {
	topic := prefix + "fenced"
	begin := func(value string) (*kafka.Producer, error) {
		producer, err := transactional("fenced")
		if err != nil {
			return producer, err
		}
		if err := producer.BeginTransaction(); err != nil {
			return producer, err
		}
		return producer, deliver(producer, topic, []plan.Record{{Value: []byte(value)}})
	}
	ctx, cancel := limit()
	defer cancel()
	first, err := begin("first")
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := begin("second")
	if err != nil {
		return err
	}
	defer second.Close()
	if err := expect(kafka.ErrFenced, first.CommitTransaction(ctx)); err != nil {
		return err
	}
	if err := second.CommitTransaction(ctx); err != nil {
		return err
	}
	return committed(topic, []string{"second"})
}

func expect(wanted kafka.ErrorCode, found error) error {
	var told kafka.Error
	if errors.As(found, &told) && told.Code() == wanted {
		return nil
	}
	return fmt.Errorf("expected %v, found %v", wanted, found)
}

func main() {
	admin, err := kafka.NewAdminClient(settings(nil))
	if err != nil {
		panic(err)
	}
	checks := &plan.Checks{}
	var topics []kafka.TopicSpecification
	var names []string
	topic := func(name string, partitions int, config map[string]string) {
		names = append(names, prefix+name)
		topics = append(topics, kafka.TopicSpecification{
			Topic: prefix + name, NumPartitions: partitions, ReplicationFactor: 1, Config: config,
		})
	}
	for _, codec := range plan.Codecs {
		topic(codec, plan.CodecPartitions, nil)
	}
	topic("classic", plan.GroupPartitions, nil)
	topic("consumer", plan.GroupPartitions, nil)
	for _, name := range []string{"in", "out", "fenced"} {
		topic(name, 1, nil)
	}
	topic("small", 1, map[string]string{"max.message.bytes": "1000"})

	answer := int(plan.Answer.Milliseconds())
	listed := func() (int, error) {
		all, err := admin.GetMetadata(nil, true, answer)
		if err != nil {
			return 0, err
		}
		count := 0
		for name := range all.Topics {
			if slices.Contains(names, name) {
				count++
			}
		}
		return count, nil
	}
	results := func(all []kafka.TopicResult, err error) error {
		for _, one := range all {
			if one.Error.Code() != kafka.ErrNoError {
				err = errors.Join(err, one.Error)
			}
		}
		return err
	}

	checks.Run("create topics", func() error {
		ctx, cancel := limit()
		defer cancel()
		if err := results(admin.CreateTopics(ctx, topics)); err != nil {
			return err
		}
		return plan.Wait("the topics are listed", plan.Answer, func() (bool, error) {
			n, err := listed()
			return n == len(names), err
		})
	})
	for _, codec := range plan.Codecs {
		checks.Run("produce "+codec, func() error { return produce(prefix+codec, codec, plan.ForCodec(codec)) })
		checks.Run("consume "+codec, func() error { return consume(codec) })
	}
	// How long a member of a classic group may take to notice a rebalance.
	classic := kafka.ConfigMap{"heartbeat.interval.ms": 300, "session.timeout.ms": 60000}
	for _, protocol := range []string{"classic", "consumer"} {
		topic, group := prefix+protocol, prefix+"group-"+protocol
		feed := func(records []plan.Record) error { return produce(topic, "none", records) }
		make := func() (plan.Consumer, error) {
			more := kafka.ConfigMap{"group.id": group, "group.protocol": protocol}
			if protocol == "classic" {
				for name, value := range classic {
					more[name] = value
				}
			}
			return newMember(topic, more)
		}
		checks.Run(protocol+" group", func() error { return plan.TwoMembers(make, feed) })
		checks.RunAfter(protocol+" group", protocol+" group resumes", func() error { return plan.Resumes(make, feed) })
		checks.RunAfter(protocol+" group resumes", "describe "+protocol+" group", func() error {
			ctx, cancel := limit()
			defer cancel()
			all, err := admin.ListConsumerGroups(ctx)
			if err != nil {
				return err
			}
			isGroup := func(one kafka.ConsumerGroupListing) bool { return one.GroupID == group }
			if !slices.ContainsFunc(all.Valid, isGroup) {
				return fmt.Errorf("the group is not listed")
			}
			described, err := admin.DescribeConsumerGroups(ctx, []string{group})
			if err != nil {
				return err
			}
			state := described.ConsumerGroupDescriptions[0].State
			if err := plan.Same("state", kafka.ConsumerGroupStateEmpty.String(), state.String()); err != nil {
				return err
			}
			offsets, err := admin.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: group}})
			if err != nil {
				return err
			}
			found := map[int32]int64{}
			for _, of := range offsets.ConsumerGroupsTopicPartitions[0].Partitions {
				found[of.Partition] = int64(of.Offset)
			}
			for p := range int32(plan.GroupPartitions) {
				if err := plan.Same("committed offset", int64(plan.Committed), found[p]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	checks.Run("static members", func() error {
		// Its librdkafka, 2.11.1, sends heartbeats for as long as a session lasts when it is fenced.
		return plan.StaticMembersWithoutDouble(func(name string) (plan.StaticConsumer, error) {
			more := kafka.ConfigMap{"group.id": prefix + "static", "group.instance.id": name}
			for name, value := range classic {
				more[name] = value
			}
			return newMember(prefix+"classic", more)
		})
	})
	checks.Run("consume, transform, produce", transform)
	checks.Run("a fenced producer", fenced)
	checks.Run("describe topics", func() error {
		name := prefix + "classic"
		described, err := admin.GetMetadata(&name, false, answer)
		if err != nil {
			return err
		}
		if err := plan.Same("partitions", plan.GroupPartitions, len(described.Topics[name].Partitions)); err != nil {
			return err
		}
		ctx, cancel := limit()
		defer cancel()
		configs, err := admin.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: prefix + "small"}})
		if err != nil {
			return err
		}
		return plan.Same("max.message.bytes", "1000", configs[0].Config["max.message.bytes"].Value)
	})
	checks.Run("unknown topic", func() error {
		return expect(kafka.ErrUnknownTopicOrPart, produce(prefix+"absent", "none", plan.ForGroup(0, 1)))
	})
	checks.Run("too large", func() error {
		large := []plan.Record{{Value: []byte(strings.Repeat("x", 5000))}}
		return expect(kafka.ErrMsgSizeTooLarge, produce(prefix+"small", "none", large))
	})
	checks.Run("delete topics", func() error {
		ctx, cancel := limit()
		defer cancel()
		if err := results(admin.DeleteTopics(ctx, names)); err != nil {
			return err
		}
		return plan.Wait("the topics are gone", plan.Answer, func() (bool, error) {
			n, err := listed()
			return n == 0, err
		})
	})
	admin.Close()
	checks.Leave()
}
