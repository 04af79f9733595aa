// franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"reka.invalid/compat-clients/plan"
)

const prefix = "franz-go-"

var address = os.Args[1]

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), plan.Answer)
}

// produce is idempotent and waits for all replicas, which is franz-go's default.
func produce(topic, codec string, records []plan.Record) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(address),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20*time.Millisecond),
		kgo.UnknownTopicRetries(0),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	var out []*kgo.Record
	for _, r := range records {
		record := &kgo.Record{Topic: topic, Partition: int32(r.Partition), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
		}
		out = append(out, record)
	}
	ctx, cancel := limit()
	defer cancel()
	return client.ProduceSync(ctx, out...).FirstErr()
}

func consume(codec string) error {
	topic := prefix + codec
	from := map[int32]kgo.Offset{}
	for p := range int32(plan.CodecPartitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := limit()
	defer cancel()
	var found []plan.Record
	for len(found) < plan.Records {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("after %d records: %w", len(found), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			record := plan.Record{Partition: int(r.Partition), Offset: r.Offset, Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				record.Headers = append(record.Headers, plan.Header{Name: h.Key, Value: string(h.Value)})
			}
			found = append(found, record)
		})
	}
	return plan.SameRecords(codec, found)
}

type member struct {
	client     *kgo.Client
	mutex      sync.Mutex
	assigned   []int32
	rebalances int
}

func newMember(topic, group string, more ...kgo.Opt) func() (plan.Consumer, error) {
	return func() (plan.Consumer, error) {
		m, err := newStatic(topic, group, more...)
		return m, err
	}
}

func newStatic(topic, group string, more ...kgo.Opt) (*member, error) {
	m := &member{}
	gone := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.assigned = slices.DeleteFunc(m.assigned, func(p int32) bool { return slices.Contains(lost[topic], p) })
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(address),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			m.assigned = append(m.assigned, added[topic]...)
			m.rebalances++
		}),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
	}
	client, err := kgo.NewClient(append(options, more...)...)
	m.client = client
	return m, err
}

func (m *member) Poll() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	fetches := m.client.PollFetches(ctx)
	var values []string
	fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return values, err
	}
	return values, nil
}

func (m *member) Assigned() []int32 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.assigned)
}

func (m *member) Rebalances() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.rebalances
}

func (m *member) Commit() error {
	ctx, cancel := limit()
	defer cancel()
	return m.client.CommitUncommittedOffsets(ctx)
}

func (m *member) Close() error {
	m.client.Close()
	return nil
}

// transform consumes, transforms and produces; every third transaction is taken back.
func transform() error {
	const count = 60
	in, out := prefix+"in", prefix+"out"
	var records []plan.Record
	for n := range count {
		records = append(records, plan.Record{Value: []byte(fmt.Sprint(n))})
	}
	if err := produce(in, "none", records); err != nil {
		return err
	}
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(address),
		kgo.TransactionalID(prefix+"transform"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup(prefix+"transform"),
		kgo.ConsumeTopics(in),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.RequireStableFetchOffsets(),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	ctx, cancel := limit()
	defer cancel()
	for done, number := 0, 0; done < count; number++ {
		fetches := session.PollRecords(ctx, 7)
		if err := first(fetches.Err(), ctx.Err()); err != nil {
			return err
		}
		if err := session.Begin(); err != nil {
			return err
		}
		polled := 0
		fetches.EachRecord(func(record *kgo.Record) {
			polled++
			value := append(slices.Clone(record.Value), '!')
			session.Produce(ctx, &kgo.Record{Topic: out, Value: value}, nil)
		})
		committed, err := session.End(ctx, kgo.TransactionEndTry(number%3 != 1))
		if err != nil {
			return err
		}
		if committed {
			done += polled
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(address),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(out),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for n := 0; n < count; {
		fetches := client.PollFetches(ctx)
		if err := first(fetches.Err(), ctx.Err()); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			if err := plan.Same("record", fmt.Sprintf("%d!", n), string(record.Value)); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		panic(err)
	}
	admin := kadm.NewClient(client)
	checks := &plan.Checks{}
	groups := map[string][]kgo.Opt{
		"classic":  nil,
		"consumer": {kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer())},
	}
	var codecTopics, topics []string
	for _, codec := range plan.Codecs {
		codecTopics = append(codecTopics, prefix+codec)
	}
	transactions := []string{prefix + "in", prefix + "out"}
	topics = append(slices.Clone(codecTopics), prefix+"classic", prefix+"consumer", prefix+"small")
	topics = append(topics, transactions...)

	listed := func() (int, error) {
		ctx, cancel := limit()
		defer cancel()
		all, err := admin.ListTopics(ctx)
		return len(slices.DeleteFunc(all.Names(), func(name string) bool { return !slices.Contains(topics, name) })), err
	}

	checks.Run("create topics", func() error {
		ctx, cancel := limit()
		defer cancel()
		create := func(partitions int32, configs map[string]*string, names ...string) error {
			created, err := admin.CreateTopics(ctx, partitions, 1, configs, names...)
			return errors.Join(err, created.Error())
		}
		small := "1000"
		if err := errors.Join(
			create(plan.CodecPartitions, nil, codecTopics...),
			create(plan.GroupPartitions, nil, prefix+"classic", prefix+"consumer"),
			create(1, nil, transactions...),
			create(1, map[string]*string{"max.message.bytes": &small}, prefix+"small"),
		); err != nil {
			return err
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
	for _, protocol := range []string{"classic", "consumer"} {
		topic, group := prefix+protocol, prefix+"group-"+protocol
		feed := func(records []plan.Record) error { return produce(topic, "none", records) }
		make := newMember(topic, group, groups[protocol]...)
		checks.Run(protocol+" group", func() error { return plan.TwoMembers(make, feed) })
		checks.RunAfter(protocol+" group", protocol+" group resumes", func() error { return plan.Resumes(make, feed) })
		checks.RunAfter(protocol+" group resumes", "describe "+protocol+" group", func() error {
			ctx, cancel := limit()
			defer cancel()
			all, err := admin.ListGroups(ctx)
			if err != nil {
				return err
			}
			if _, ok := all[group]; !ok {
				return fmt.Errorf("the group is not listed")
			}
			// Each protocol has a describe of its own; one that does not know the group says Dead or an error.
			if protocol == "classic" {
				described, err := admin.DescribeGroups(ctx, group)
				if err != nil {
					return err
				}
				if err := plan.Same("state", "Empty", described[group].State); err != nil {
					return err
				}
			} else {
				described, err := admin.DescribeConsumerGroups(ctx, group)
				if err != nil {
					return err
				}
				if err := plan.Same("state", "Empty", described[group].State); err != nil {
					return err
				}
			}
			offsets, err := admin.FetchOffsets(ctx, group)
			if err != nil {
				return err
			}
			for p := range int32(plan.GroupPartitions) {
				at, _ := offsets.Lookup(topic, p)
				if err := plan.Same("committed offset", int64(plan.Committed), at.At); err != nil {
					return err
				}
			}
			return nil
		})
	}
	checks.Run("static members", func() error {
		return plan.StaticMembers(func(name string) (plan.StaticConsumer, error) {
			// It is told only what is new of those that keep what they have.
			return newStatic(prefix+"classic", prefix+"static", kgo.InstanceID(name), kgo.Balancers(kgo.RangeBalancer()))
		})
	})
	checks.Run("consume, transform, produce", transform)
	checks.Run("describe topics", func() error {
		ctx, cancel := limit()
		defer cancel()
		all, err := admin.ListTopics(ctx, prefix+"classic")
		if err != nil {
			return err
		}
		if err := plan.Same("partitions", []int32{0, 1, 2, 3}, all[prefix+"classic"].Partitions.Numbers()); err != nil {
			return err
		}
		configs, err := admin.DescribeTopicConfigs(ctx, prefix+"small")
		if err != nil {
			return err
		}
		_, err = configs.On(prefix+"small", func(of *kadm.ResourceConfig) error {
			for _, config := range of.Configs {
				if config.Key == "max.message.bytes" {
					return plan.Same(config.Key, "1000", config.MaybeValue())
				}
			}
			return fmt.Errorf("max.message.bytes is not told")
		})
		return err
	})
	expect := func(wanted error, found error) error {
		if errors.Is(found, wanted) {
			return nil
		}
		return fmt.Errorf("expected %v, found %v", wanted, found)
	}
	checks.Run("unknown topic", func() error {
		return expect(kerr.UnknownTopicOrPartition, produce(prefix+"absent", "none", plan.ForGroup(0, 1)))
	})
	checks.Run("too large", func() error {
		large := []plan.Record{{Value: make([]byte, 5000)}}
		return expect(kerr.MessageTooLarge, produce(prefix+"small", "none", large))
	})
	checks.Run("delete topics", func() error {
		ctx, cancel := limit()
		defer cancel()
		deleted, err := admin.DeleteTopics(ctx, topics...)
		if err := errors.Join(err, deleted.Error()); err != nil {
			return err
		}
		return plan.Wait("the topics are gone", plan.Answer, func() (bool, error) {
			n, err := listed()
			return n == 0, err
		})
	})
	client.Close()
	checks.Leave()
}
