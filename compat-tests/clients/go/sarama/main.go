// sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"reka.invalid/compat-clients/plan"
)

const prefix = "sarama-"

var addresses = []string{os.Args[1]}

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Net.DialTimeout = plan.Answer
	config.Net.ReadTimeout = plan.Answer
	config.Metadata.Retry.Max = 10
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	return config
}

func produce(topic, codec string, records []plan.Record) error {
	config := config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Return.Successes = true
	config.Producer.Compression = codecs[codec]
	config.Producer.Partitioner = sarama.NewManualPartitioner
	producer, err := sarama.NewSyncProducer(addresses, config)
	if err != nil {
		return err
	}
	var out []*sarama.ProducerMessage
	for _, r := range records {
		message := &sarama.ProducerMessage{Topic: topic, Partition: int32(r.Partition)}
		// A nil interface is null; a nil slice inside one is not.
		if r.Key != nil {
			message.Key = sarama.ByteEncoder(r.Key)
		}
		if r.Value != nil {
			message.Value = sarama.ByteEncoder(r.Value)
		}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: []byte(h.Value)})
		}
		out = append(out, message)
	}
	return errors.Join(producer.SendMessages(out), producer.Close())
}

func consume(codec string) error {
	consumer, err := sarama.NewConsumer(addresses, config())
	if err != nil {
		return err
	}
	var found []plan.Record
	for p := range plan.CodecPartitions {
		partition, err := consumer.ConsumePartition(prefix+codec, int32(p), sarama.OffsetOldest)
		if err != nil {
			return errors.Join(err, consumer.Close())
		}
		limit := time.After(plan.Answer)
		for range plan.Records / plan.CodecPartitions {
			select {
			case m := <-partition.Messages():
				record := plan.Record{Partition: p, Offset: m.Offset, Key: m.Key, Value: m.Value}
				for _, h := range m.Headers {
					record.Headers = append(record.Headers, plan.Header{Name: string(h.Key), Value: string(h.Value)})
				}
				found = append(found, record)
			case <-limit:
				return fmt.Errorf("%d records after %s", len(found), plan.Answer)
			}
		}
		if err := partition.Close(); err != nil {
			return err
		}
	}
	return errors.Join(consumer.Close(), plan.SameRecords(codec, found))
}

// member joins again after each rebalance, as sarama's Consume returns then.
type member struct {
	*plan.Fed
	topic   string
	group   sarama.ConsumerGroup
	leave   context.CancelFunc
	joined  sync.WaitGroup
	mutex   sync.Mutex
	session sarama.ConsumerGroupSession
	// How often it was told what it has.
	rebalances int
}

func newMember(topic, name, instance string) (*member, error) {
	config := config()
	config.Consumer.Group.InstanceId = instance
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Session.Timeout = 60 * time.Second
	group, err := sarama.NewConsumerGroup(addresses, name, config)
	if err != nil {
		return nil, err
	}
	staying, leave := context.WithCancel(context.Background())
	m := &member{Fed: plan.NewFed(), topic: topic, group: group, leave: leave}
	m.joined.Go(func() {
		for staying.Err() == nil {
			err := group.Consume(staying, []string{topic}, m)
			if errors.Is(err, sarama.ErrFencedInstancedId) {
				// Its text speaks around it.
				err = fmt.Errorf("fenced: %w", err)
			}
			if err != nil {
				m.Fail(err)
				return
			}
		}
	})
	return m, nil
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	m.session = session
	m.rebalances++
	m.mutex.Unlock()
	m.Assign(session.Claims()[m.topic])
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.Assign(nil)
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok || !m.Feed(session.Context(), string(message.Value)) {
				return nil
			}
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) Commit() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.session == nil {
		return errors.New("no session to commit in")
	}
	m.session.Commit()
	return nil
}

func (m *member) Rebalances() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.rebalances
}

func (m *member) Close() error {
	m.leave()
	m.joined.Wait()
	return m.group.Close()
}

// values reads as many records of partition 0 as a reader of committed data is given.
func values(topic string, count int) ([]*sarama.ConsumerMessage, error) {
	config := config()
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	consumer, err := sarama.NewConsumer(addresses, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	limit := time.After(plan.Answer)
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		select {
		case message := <-partition.Messages():
			found = append(found, message)
		case <-limit:
			return nil, fmt.Errorf("%d records of %s after %s", len(found), topic, plan.Answer)
		}
	}
	return found, nil
}

// transform reads, transforms and produces, with the positions in the same transactions; every third is taken back.
func transform(admin sarama.ClusterAdmin) error {
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
	read, err := values(in, count)
	if err != nil {
		return err
	}
	config := config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Return.Successes = true
	config.Producer.Transaction.ID = prefix + "transform"
	producer, err := sarama.NewSyncProducer(addresses, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	for done, number := 0, 0; done < count; number++ {
		batch := read[done:min(done+7, count)]
		if err := producer.BeginTxn(); err != nil {
			return err
		}
		var transformed []*sarama.ProducerMessage
		for _, message := range batch {
			value := sarama.ByteEncoder(append(message.Value[:len(message.Value):len(message.Value)], '!'))
			transformed = append(transformed, &sarama.ProducerMessage{Topic: out, Value: value})
		}
		if err := producer.SendMessages(transformed); err != nil {
			return err
		}
		position := &sarama.PartitionOffsetMetadata{Partition: 0, Offset: batch[len(batch)-1].Offset + 1}
		offsets := map[string][]*sarama.PartitionOffsetMetadata{in: {position}}
		if err := producer.AddOffsetsToTxn(offsets, group); err != nil {
			return err
		}
		if number%3 == 1 {
			if err := producer.AbortTxn(); err != nil {
				return err
			}
			continue
		}
		if err := producer.CommitTxn(); err != nil {
			return err
		}
		done += len(batch)
	}
	// What is committed becomes visible a moment after it is acknowledged.
	if err := plan.Wait("the positions are committed", plan.Answer, func() (bool, error) {
		committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{in: {0}})
		if err != nil {
			return false, err
		}
		block := committed.GetBlock(in, 0)
		return block != nil && block.Offset == count, nil
	}); err != nil {
		return err
	}
	transformed, err := values(out, count)
	if err != nil {
		return err
	}
	var found []string
	for _, message := range transformed {
		found = append(found, string(message.Value))
	}
	return plan.Same("records", expected, found)
}

func main() {
	checks := &plan.Checks{}
	admin, err := sarama.NewClusterAdmin(addresses, config())
	if err != nil {
		panic(err)
	}
	classic, group := prefix+"classic", prefix+"group-classic"
	small := "1000"
	topics := map[string]*sarama.TopicDetail{
		classic: {NumPartitions: plan.GroupPartitions, ReplicationFactor: 1},
		prefix + "small": {NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: map[string]*string{"max.message.bytes": &small}},
	}
	for _, name := range []string{"in", "out"} {
		topics[prefix+name] = &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}
	}
	for _, codec := range plan.Codecs {
		topics[prefix+codec] = &sarama.TopicDetail{NumPartitions: plan.CodecPartitions, ReplicationFactor: 1}
	}
	listed := func() (count int, err error) {
		all, err := admin.ListTopics()
		for topic := range topics {
			if _, ok := all[topic]; ok {
				count++
			}
		}
		return count, err
	}
	feed := func(records []plan.Record) error { return produce(classic, "none", records) }
	make := func() (plan.Consumer, error) { return newMember(classic, group, "") }
	expect := func(wanted sarama.KError, found error) error {
		var all sarama.ProducerErrors
		if errors.As(found, &all) && len(all) == 1 {
			found = all[0].Err
		}
		if errors.Is(found, wanted) {
			return nil
		}
		return fmt.Errorf("expected %v, found %v", wanted, found)
	}

	checks.Run("create topics", func() error {
		for name, detail := range topics {
			if err := admin.CreateTopic(name, detail, false); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return plan.Wait("the topics are listed", plan.Answer, func() (bool, error) {
			n, err := listed()
			return n == len(topics), err
		})
	})
	for _, codec := range plan.Codecs {
		checks.Run("produce "+codec, func() error { return produce(prefix+codec, codec, plan.ForCodec(codec)) })
		checks.Run("consume "+codec, func() error { return consume(codec) })
	}
	checks.Run("classic group", func() error { return plan.TwoMembers(make, feed) })
	checks.RunAfter("classic group", "classic group resumes", func() error { return plan.Resumes(make, feed) })
	checks.RunAfter("classic group resumes", "describe classic group", func() error {
		all, err := admin.ListConsumerGroups()
		if err != nil {
			return err
		}
		if _, ok := all[group]; !ok {
			return errors.New("the group is not listed")
		}
		described, err := admin.DescribeConsumerGroups([]string{group})
		if err != nil {
			return err
		}
		if err := plan.Same("groups", 1, len(described)); err != nil {
			return err
		}
		if err := plan.Same("state", "Empty", described[0].State); err != nil {
			return err
		}
		offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{classic: {0, 1, 2, 3}})
		if err != nil {
			return err
		}
		for p := range int32(plan.GroupPartitions) {
			block := offsets.GetBlock(classic, p)
			if block == nil {
				return fmt.Errorf("no offset of partition %d", p)
			}
			if err := plan.Same("committed offset", int64(plan.Committed), block.Offset); err != nil {
				return err
			}
		}
		return nil
	})
	checks.Run("static members", func() error {
		return plan.StaticMembers(func(name string) (plan.StaticConsumer, error) {
			return newMember(classic, prefix+"static", name)
		})
	})
	checks.Run("consume, transform, produce", func() error { return transform(admin) })
	checks.Run("describe topics", func() error {
		described, err := admin.DescribeTopics([]string{classic})
		if err != nil {
			return err
		}
		if err := plan.Same("topics", 1, len(described)); err != nil {
			return err
		}
		if err := plan.Same("partitions", plan.GroupPartitions, len(described[0].Partitions)); err != nil {
			return err
		}
		entries, err := admin.DescribeConfig(sarama.ConfigResource{
			Type: sarama.TopicResource, Name: prefix + "small", ConfigNames: []string{"max.message.bytes"}})
		if err != nil {
			return err
		}
		if err := plan.Same("settings", 1, len(entries)); err != nil {
			return err
		}
		return plan.Same(entries[0].Name, "1000", entries[0].Value)
	})
	checks.Run("unknown topic", func() error {
		return expect(sarama.ErrUnknownTopicOrPartition, produce(prefix+"absent", "none", plan.ForGroup(0, 1)))
	})
	checks.Run("too large", func() error {
		large := []plan.Record{{Value: []byte(fmt.Sprintf("%5000d", 0))}}
		return expect(sarama.ErrMessageSizeTooLarge, produce(prefix+"small", "none", large))
	})
	checks.Run("delete topics", func() error {
		for name := range topics {
			if err := admin.DeleteTopic(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return plan.Wait("the topics are gone", plan.Answer, func() (bool, error) {
			n, err := listed()
			return n == 0, err
		})
	})
	if err := admin.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	checks.Leave()
}
