// Package plan is what every Go client does here: the records, the named checks, the members of a
// group.
package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	CodecPartitions = 2
	GroupPartitions = 4
	Records         = 60
	Before          = 200
	After           = 100
	// Each is committed so far in when both checks of a group are done.
	Committed = (Before + After) / GroupPartitions
	// A machine five times slower than ours still keeps them.
	Deadline = 120 * time.Second
	Answer   = 60 * time.Second
)

// Codecs is what every client here can compress with.
var Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Header is one of a record's headers; names may occur twice.
type Header struct{ Name, Value string }

// Record is what is produced, and what must come back. Nil is null.
type Record struct {
	Partition int
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
}

// ForCodec is what a codec's topic is given, in order.
func ForCodec(codec string) []Record {
	var records []Record
	for i := range Records {
		record := Record{
			Partition: i % CodecPartitions,
			Offset:    int64(i / CodecPartitions),
			Headers:   []Header{{"n", fmt.Sprint(i)}, {"same", "1"}, {"same", "2"}},
		}
		if i%7 != 0 {
			record.Key = fmt.Appendf(nil, "k%d", i)
		}
		// Nulls are tombstones; the repetition makes it worth compressing.
		if i%10 != 3 {
			record.Value = fmt.Appendf(nil, "%s %d %s", codec, i, strings.Repeat("reka", 50))
		}
		records = append(records, record)
	}
	return records
}

// SameRecords compares what was read, in any order of partitions, with what was produced.
func SameRecords(codec string, found []Record) error {
	for p := range CodecPartitions {
		of := func(records []Record) []Record {
			return slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Partition != p })
		}
		if err := Same(fmt.Sprintf("partition %d", p), of(ForCodec(codec)), of(found)); err != nil {
			return err
		}
	}
	return nil
}

// ForGroup is count records for a group's topic.
func ForGroup(start, count int) []Record {
	var records []Record
	for n := start; n < start+count; n++ {
		records = append(records, Record{Partition: n % GroupPartitions, Value: fmt.Appendf(nil, "group %d", n)})
	}
	return records
}

func groupValues(start, count int) []string {
	var values []string
	for _, record := range ForGroup(start, count) {
		values = append(values, string(record.Value))
	}
	slices.Sort(values)
	return values
}

// Same is an error that shows both if they are not the same.
func Same(what string, expected, found any) error {
	if reflect.DeepEqual(expected, found) {
		return nil
	}
	return fmt.Errorf("%s: expected %.300s, found %.300s", what, show(expected), show(found))
}

func show(value any) string {
	switch value.(type) {
	case int, int64, []int32:
		return fmt.Sprint(value)
	default:
		return fmt.Sprintf("%q", value)
	}
}

// Wait asks condition until it holds, fails, or limit has passed.
func Wait(what string, limit time.Duration, condition func() (bool, error)) error {
	end := time.Now().Add(limit)
	for {
		if done, err := condition(); done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not after %s: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Checks runs checks by name and prints each as a line of JSON.
type Checks struct{ failed []string }

// Run runs one.
func (c *Checks) Run(name string, step func() error) {
	line := map[string]any{"check": name, "ok": true}
	if err := step(); err != nil {
		c.failed = append(c.failed, name)
		line["ok"], line["why"] = false, err.Error()
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

// RunAfter runs one that looks for the traces of another: without them it would only tell the same finding
// again, in other words.
func (c *Checks) RunAfter(after, name string, step func() error) {
	if slices.Contains(c.failed, after) {
		step = func() error { return fmt.Errorf("not tried, as `%s` failed", after) }
	}
	c.Run(name, step)
}

// Leave ends the program.
func (c *Checks) Leave() {
	if len(c.failed) > 0 {
		os.Exit(1)
	}
	os.Exit(0)
}

// Consumer is a member of a group, as the client at hand has it.
type Consumer interface {
	// Poll returns the values that arrive within a fraction of a second.
	Poll() ([]string, error)
	Assigned() []int32
	// Commit commits what Poll returned.
	Commit() error
	Close() error
}

// member reads on a goroutine of its own until told to stop, commits, and leaves when told to.
type member struct {
	mutex     sync.Mutex
	assigned  []int32
	seen      []string
	err       error
	stop      context.CancelFunc
	committed context.Context
	part      context.CancelFunc
	ended     chan struct{}
}

func start(make func() (Consumer, error)) *member {
	stopping, stop := context.WithCancel(context.Background())
	committed, commit := context.WithCancel(context.Background())
	parting, part := context.WithCancel(context.Background())
	m := &member{stop: stop, committed: committed, part: part, ended: newEnded()}
	go func() {
		defer close(m.ended)
		if err := m.run(stopping, commit, parting, make); err != nil {
			m.mutex.Lock()
			m.err = err
			m.mutex.Unlock()
		}
	}()
	return m
}

// newEnded is apart because its caller has another make.
func newEnded() chan struct{} { return make(chan struct{}) }

func (m *member) run(
	stopping context.Context, committed func(), parting context.Context, make func() (Consumer, error),
) error {
	// Whoever waits for the commit learns about an error as well.
	defer committed()
	consumer, err := make()
	if err != nil {
		return err
	}
	for stopping.Err() == nil && err == nil {
		var values []string
		values, err = consumer.Poll()
		m.mutex.Lock()
		m.seen = append(m.seen, values...)
		m.assigned = slices.Clone(consumer.Assigned())
		m.mutex.Unlock()
	}
	if err == nil {
		err = consumer.Commit()
	}
	committed()
	if err == nil {
		<-parting.Done()
	}
	if closed := consumer.Close(); err == nil {
		err = closed
	}
	return err
}

func (m *member) look() (assigned []int32, seen []string, err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.assigned), slices.Clone(m.seen), m.err
}

func (m *member) leave() ([]string, error) {
	m.stop()
	m.part()
	select {
	case <-m.ended:
		_, seen, err := m.look()
		return seen, err
	case <-time.After(Deadline):
		return nil, fmt.Errorf("a member did not leave after %s", Deadline)
	}
}

// commit tells it to read no more, and returns when it has committed or failed.
func (m *member) commit() {
	m.stop()
	select {
	case <-m.committed.Done():
	case <-time.After(Deadline):
	}
}

// TwoMembers share the partitions, and every record is seen by one of them, once.
func TwoMembers(make func() (Consumer, error), produce func([]Record) error) error {
	a, b := start(make), start(make)
	err := Wait("two members share the partitions", Deadline, func() (bool, error) {
		ofA, _, errA := a.look()
		ofB, _, errB := b.look()
		both := slices.Concat(ofA, ofB)
		slices.Sort(both)
		shared := len(ofA) > 0 && len(ofB) > 0 && slices.Equal(both, []int32{0, 1, 2, 3})
		return shared, first(errA, errB)
	})
	if err == nil {
		err = produce(ForGroup(0, Before))
	}
	if err == nil {
		err = Wait("every record is seen", Deadline, func() (bool, error) {
			_, ofA, errA := a.look()
			_, ofB, errB := b.look()
			return len(ofA)+len(ofB) >= Before, first(errA, errB)
		})
	}
	// Both commit before either leaves: a commit in the middle of a rebalance may be refused, and
	// partitions that are handed on before it are read twice.
	a.commit()
	b.commit()
	ofA, errA := a.leave()
	ofB, errB := b.leave()
	if err := first(err, errA, errB); err != nil {
		return err
	}
	if len(ofA) == 0 || len(ofB) == 0 {
		return fmt.Errorf("a member saw nothing: %d and %d records", len(ofA), len(ofB))
	}
	seen := slices.Concat(ofA, ofB)
	slices.Sort(seen)
	return Same("records seen", groupValues(0, Before), seen)
}

// Resumes starts a later member, which goes on where the group committed.
func Resumes(make func() (Consumer, error), produce func([]Record) error) error {
	if err := produce(ForGroup(Before, After)); err != nil {
		return err
	}
	m := start(make)
	err := Wait("the new records are seen", Deadline, func() (bool, error) {
		_, seen, err := m.look()
		return len(seen) >= After, err
	})
	seen, left := m.leave()
	if err := first(err, left); err != nil {
		return err
	}
	slices.Sort(seen)
	return Same("records seen after the restart", groupValues(Before, After), seen)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Fed is a Consumer for clients that push: their callbacks feed it.
type Fed struct {
	mutex    sync.Mutex
	assigned []int32
	err      error
	values   chan string
}

// NewFed is an empty one.
func NewFed() *Fed { return &Fed{values: make(chan string, Before+After)} }

// Assign replaces the partitions the member has.
func (f *Fed) Assign(partitions []int32) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.assigned = slices.Clone(partitions)
}

// Assigned is what it has now.
func (f *Fed) Assigned() []int32 {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.assigned)
}

// Feed hands over a value; false if ctx ended first.
func (f *Fed) Feed(ctx context.Context, value string) bool {
	select {
	case f.values <- value:
		return true
	case <-ctx.Done():
		return false
	}
}

// Fail ends the member with an error.
func (f *Fed) Fail(err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// Poll returns what was fed, waiting a fraction of a second for it.
func (f *Fed) Poll() ([]string, error) {
	f.mutex.Lock()
	err := f.err
	f.mutex.Unlock()
	if err != nil {
		return nil, err
	}
	var values []string
	waited := time.After(100 * time.Millisecond)
	for {
		select {
		case value := <-f.values:
			values = append(values, value)
		case <-waited:
			return values, nil
		}
	}
}

// StaticConsumer is a member with a name of its own, which does not leave the group when it is closed.
type StaticConsumer interface {
	Consumer
	// Rebalances is how often it was told what it has.
	Rebalances() int
}

// static polls on a goroutine of its own until it is told to go, or fails.
type static struct {
	mutex      sync.Mutex
	assigned   []int32
	rebalances int
	err        error
	stop       context.CancelFunc
	ended      chan struct{}
}

func startStatic(name string, make func(name string) (StaticConsumer, error)) *static {
	stopping, stop := context.WithCancel(context.Background())
	s := &static{stop: stop, ended: newEnded()}
	go func() {
		defer close(s.ended)
		err := s.run(stopping, name, make)
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.err = err
	}()
	return s
}

func (s *static) run(stopping context.Context, name string, make func(name string) (StaticConsumer, error)) error {
	consumer, err := make(name)
	if err != nil {
		return err
	}
	for stopping.Err() == nil && err == nil {
		_, err = consumer.Poll()
		assigned, rebalances := slices.Clone(consumer.Assigned()), consumer.Rebalances()
		slices.Sort(assigned)
		s.mutex.Lock()
		s.assigned, s.rebalances = assigned, rebalances
		s.mutex.Unlock()
	}
	if closed := consumer.Close(); err == nil {
		err = closed
	}
	return err
}

func (s *static) look() (assigned []int32, rebalances int, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.assigned), s.rebalances, s.err
}

// leave stops it; an error if it does not end.
func (s *static) leave() error {
	s.stop()
	select {
	case <-s.ended:
		return nil
	case <-time.After(Deadline):
		return fmt.Errorf("a member did not end after %s", Deadline)
	}
}

// StaticMembers checks that who comes back under a name has its partitions again, without a rebalance of the
// other, and that a second one of the name fences the first.
func StaticMembers(make func(name string) (StaticConsumer, error)) error {
	return staticMembers(make, func(back *static, begin func(name string) *static) error {
		begin("a")
		if err := Wait("the first of two of a name is fenced", Deadline, func() (bool, error) {
			_, _, err := back.look()
			return err != nil, nil
		}); err != nil {
			return err
		}
		_, _, fenced := back.look()
		if !strings.Contains(strings.ToLower(fenced.Error()), "fenced") {
			return fmt.Errorf("expected an error about fencing, found %w", fenced)
		}
		return nil
	})
}

// StaticMembersWithoutDouble is the same for clients that go on trying when they are fenced.
func StaticMembersWithoutDouble(make func(name string) (StaticConsumer, error)) error {
	return staticMembers(make, func(*static, func(name string) *static) error { return nil })
}

func staticMembers(
	make func(name string) (StaticConsumer, error),
	double func(back *static, begin func(name string) *static) error,
) (err error) {
	var members []*static
	begin := func(name string) *static {
		members = append(members, startStatic(name, make))
		return members[len(members)-1]
	}
	defer func() {
		for _, member := range members {
			err = first(err, member.leave())
		}
	}()
	a, b := begin("a"), begin("b")
	if err := Wait("two static members share the partitions", Deadline, func() (bool, error) {
		ofA, _, errA := a.look()
		ofB, _, errB := b.look()
		both := slices.Concat(ofA, ofB)
		slices.Sort(both)
		return len(ofA) == 2 && slices.Equal(both, []int32{0, 1, 2, 3}), first(errA, errB)
	}); err != nil {
		return err
	}
	before, _, _ := a.look()
	_, rebalances, _ := b.look()
	if err := a.leave(); err != nil {
		return err
	}
	back := begin("a")
	if err := Wait("it has its partitions again", Deadline, func() (bool, error) {
		again, _, err := back.look()
		return slices.Equal(again, before), err
	}); err != nil {
		return err
	}
	if err := double(back, begin); err != nil {
		return err
	}
	_, after, err := b.look()
	if err != nil {
		return err
	}
	return Same("rebalances of the other", rebalances, after)
}
