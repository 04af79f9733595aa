// A member that is killed, paused and started again: prints partition and offset of each record, then
// commits. Arguments: the address, a topic, a group, and what it is: franz-classic, franz-consumer or sarama.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	session   = 6 * time.Second
	heartbeat = 300 * time.Millisecond
)

func main() {
	address, topic, group, kind := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	var err error
	if kind == "sarama" {
		err = ofSarama(address, topic, group)
	} else {
		err = franz(address, topic, group, kind == "franz-consumer")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// complain goes on: the partitions are another's by now, who reads the records again.
func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func franz(address, topic, group string, newer bool) error {
	ctx := context.Background()
	options := []kgo.Opt{
		kgo.SeedBrokers(address),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		// What is told is committed before the partitions go.
		kgo.BlockRebalanceOnPoll(),
		kgo.RetryTimeout(session),
	}
	if newer {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	} else {
		options = append(options,
			kgo.Balancers(kgo.RangeBalancer()),
			kgo.SessionTimeout(session),
			kgo.HeartbeatInterval(heartbeat))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	for {
		polling, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := client.PollRecords(polling, 200)
		cancel()
		fetches.EachRecord(func(record *kgo.Record) { fmt.Println(record.Partition, record.Offset) })
		if fetches.NumRecords() > 0 {
			committing, cancel := context.WithTimeout(ctx, session)
			complain(client.CommitRecords(committing, fetches.Records()...))
			cancel()
		}
		client.AllowRebalance()
	}
}

// claims tells and commits what it is given.
type claims struct{}

func (claims) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (claims) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			fmt.Println(message.Partition, message.Offset)
			session.MarkMessage(message, "")
			if message.Offset%20 == 19 || message.Offset+1 == claim.HighWaterMarkOffset() {
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func ofSarama(address, topic, name string) error {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = session
	config.Consumer.Group.Heartbeat.Interval = heartbeat
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	config.Consumer.Return.Errors = true
	group, err := sarama.NewConsumerGroup([]string{address}, name, config)
	if err != nil {
		return err
	}
	go func() {
		for err := range group.Errors() {
			complain(err)
		}
	}()
	for {
		complain(group.Consume(context.Background(), []string{topic}, claims{}))
	}
}
