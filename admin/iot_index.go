package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"muster/registry"
	"muster/registry/index"
)

const (
	thingsIndex       = "AWS_Things"
	groupsIndex       = "AWS_ThingGroups"
	queryVersion      = "2017-09-30"
	defaultFound      = 100 // things on a page of SearchIndex
	defaultBuckets    = 10
	maxBuckets        = 10_000
	maxPercents       = 100
	maxFieldBytes     = 1024
	defaultAggregated = "registry.version"
)

// indexQuery is what all operations on an index take.
type indexQuery struct {
	IndexName        string `json:"indexName"`
	QueryString      string `json:"queryString"`
	QueryVersion     string `json:"queryVersion"`
	AggregationField string `json:"aggregationField"`
	MinRevision      int64  `json:"minRevision"` // that the answer must have seen; AWS has none
}

// check refuses what no index of this gateway answers.
func (q *indexQuery) check(s *Server) error {
	if q.QueryString == "" {
		return invalid("queryString is missing; * finds every thing")
	}
	if err := checkVersion(q.QueryVersion); err != nil {
		return err
	}
	if err := s.registry.Reached(q.MinRevision); err != nil {
		return err
	}
	return s.checkIndex(q.IndexName)
}

func checkVersion(version string) error {
	if version != "" && version != queryVersion {
		return invalid("queryVersion must be %s, not %q", queryVersion, short(version))
	}
	return nil
}

// checkThingsIndex refuses another index and version than what is kept for later is of: what, such as dynamic groups.
func (s *Server) checkThingsIndex(what, name, version string) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	if err := checkIndexName(name); err != nil {
		return err
	}
	if name != "" && name != thingsIndex {
		return notFound("%s are of the index %s; there is no other %q", what, thingsIndex, short(name))
	}
	return s.checkIndex("")
}

func checkIndexName(name string) error {
	if name == "" {
		return nil
	}
	return registry.CheckName("indexName", name)
}

func (s *Server) checkIndex(name string) error {
	if err := checkIndexName(name); err != nil {
		return err
	}
	switch {
	case name == groupsIndex:
		if s.indexing.groupsOn() {
			return nil
		}
		return &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", awsType: "IndexNotReadyException",
			message: "the index of thing groups is switched off; switch it on with UpdateIndexingConfiguration, thingGroupIndexingMode ON"}
	case name != "" && name != thingsIndex:
		return notFound("this gateway has no index %q; it has %s and %s", short(name), thingsIndex, groupsIndex)
	case !s.indexing.on():
		return &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", awsType: "IndexNotReadyException",
			message: "indexing is switched off; switch it on with UpdateIndexingConfiguration, thingIndexingMode REGISTRY"}
	}
	return nil
}

// aggregated returns the field to aggregate.
func (q *indexQuery) aggregated() (string, error) {
	if err := q.onlyThings(); err != nil {
		return "", err
	}
	field := q.AggregationField
	if field == "" {
		return defaultAggregated, nil
	}
	if wrong := wrongField(field); wrong != "" {
		return "", wrongAggregation("aggregationField: %s", wrong)
	}
	return field, nil
}

// wrongField says why a field cannot be aggregated, "" if it can.
func wrongField(field string) string {
	known := slices.Contains([]string{"thingName", "thingId", "thingTypeName", "thingGroupNames", "group", "billingGroupName"}, field)
	for _, root := range []string{"attributes.", "registry.", "connectivity.", "cert.", "telemetry.", "shadow.", "deviceDefender."} {
		known = known || strings.HasPrefix(field, root)
	}
	switch {
	case len(field) > maxFieldBytes:
		return fmt.Sprintf("it has %d bytes, and no field more than %d", len(field), maxFieldBytes)
	case !known:
		return fmt.Sprintf("there is no field %q; it is one such as attributes.city, thingTypeName or connectivity.timestamp", short(field))
	case strings.HasPrefix(field, "telemetry.") && strings.Contains(field, "("):
		return fmt.Sprintf("the window %s cannot be aggregated; use the last value, such as telemetry.temp_c, or PromQL", short(field))
	}
	return ""
}

func wrongAggregation(format string, args ...any) error {
	e := describe(invalid(format, args...))
	e.awsType = "InvalidAggregationException"
	return e
}

// awsThing is a thing in the answer of SearchIndex.
type awsThing struct {
	ThingName       string            `json:"thingName"`
	ThingID         string            `json:"thingId"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	ThingGroupNames []string          `json:"thingGroupNames,omitempty"`
	Attributes      map[string]string `json:"attributes"`
	Connectivity    awsConnectivity   `json:"connectivity"`
}

type awsConnectivity struct {
	Connected        bool   `json:"connected"`
	Timestamp        int64  `json:"timestamp,omitempty"` // Unix ms
	DisconnectReason string `json:"disconnectReason,omitempty"`
}

type searchIndexInput struct {
	indexQuery
	NextToken  string `json:"nextToken"`
	MaxResults *int   `json:"maxResults"`
}

// searchOutput has the things or the groups, as the index that was asked has.
type searchOutput struct {
	Things    *[]awsThing `json:"things,omitempty"`
	Groups    *[]awsGroup `json:"thingGroups,omitempty"`
	NextToken string      `json:"nextToken,omitempty"`
}

func searchIndex(ctx context.Context, s *Server, c *call, in searchIndexInput) (*searchOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	c.http.Response.Header.Set(revisionHeader, strconv.FormatInt(s.registry.Revision(), 10))
	limit := defaultFound
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	if limit < 1 || limit > registry.MaxPage {
		return nil, invalid("maxResults must be from 1 to %d, it is %d", registry.MaxPage, limit)
	}
	cursor, err := decodePageToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	if in.IndexName == groupsIndex {
		return searchGroups(ctx, s, registry.QueryInput{Text: in.QueryString, Limit: limit, Cursor: cursor})
	}
	page, err := s.registry.Query(ctx, registry.QueryInput{Text: in.QueryString, Limit: limit, Cursor: cursor})
	if err != nil {
		return nil, err
	}
	things := make([]awsThing, 0, len(page.Hits))
	for _, h := range page.Hits {
		out := awsThing{
			ThingName: h.Thing.Name, ThingID: h.Thing.UUID, ThingTypeName: h.Thing.TypeName, ThingGroupNames: h.Groups,
			Attributes: orEmpty(h.Thing.Attributes),
		}
		if h.Known {
			out.Connectivity = awsConnectivity{h.Connectivity.Connected, h.Connectivity.SinceMs, registry.DisconnectReason(h.Connectivity.Reason)}
		}
		things = append(things, out)
	}
	return &searchOutput{Things: &things, NextToken: pageToken(page.NextCursor)}, nil
}

// awsGroup is a thing group in the answer of SearchIndex.
type awsGroup struct {
	Name        string            `json:"thingGroupName"`
	ID          string            `json:"thingGroupId"`
	Description string            `json:"thingGroupDescription,omitempty"`
	Attributes  map[string]string `json:"attributes"`
	Above       []string          `json:"parentGroupNames,omitempty"`
}

func searchGroups(ctx context.Context, s *Server, in registry.QueryInput) (*searchOutput, error) {
	hits, next, err := s.registry.QueryGroups(ctx, in)
	if err != nil {
		return nil, err
	}
	groups := make([]awsGroup, 0, len(hits))
	for _, h := range hits {
		groups = append(groups, awsGroup{h.Group.Name, h.Group.UUID, h.Group.Description, orEmpty(h.Group.Attributes), h.Above})
	}
	return &searchOutput{Groups: &groups, NextToken: pageToken(next)}, nil
}

// onlyThings refuses to aggregate over groups (AWS: only AWS_Things).
func (q *indexQuery) onlyThings() error {
	if q.IndexName == groupsIndex {
		return wrongAggregation("indexName: only %s can be aggregated", thingsIndex)
	}
	return nil
}

// finite is a number that JSON can write; AWS, too, leaves out what is beyond a double.
func finite(n float64) *float64 {
	if math.IsInf(n, 0) || math.IsNaN(n) {
		return nil
	}
	return &n
}

type statistics struct {
	Count        int      `json:"count"`
	Average      *float64 `json:"average,omitempty"`
	Sum          *float64 `json:"sum,omitempty"`
	Minimum      *float64 `json:"minimum,omitempty"`
	Maximum      *float64 `json:"maximum,omitempty"`
	SumOfSquares *float64 `json:"sumOfSquares,omitempty"`
	Variance     *float64 `json:"variance,omitempty"`
	StdDeviation *float64 `json:"stdDeviation,omitempty"`
}

type statisticsOutput struct {
	Statistics statistics `json:"statistics"`
}

func getStatistics(ctx context.Context, s *Server, _ *call, in indexQuery) (*statisticsOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	field, err := in.aggregated()
	if err != nil {
		return nil, err
	}
	stats, err := s.registry.QueryStats(ctx, in.QueryString, field)
	if err != nil {
		return nil, err
	}
	out := statistics{Count: stats.Count}
	if stats.Type == index.NumberType || stats.Type == index.BoolType {
		out.Average, out.Sum, out.SumOfSquares = finite(stats.Average), finite(stats.Sum), finite(stats.SumSquares)
		out.Minimum, out.Maximum = &stats.Min, &stats.Max
		out.Variance, out.StdDeviation = finite(stats.Variance), finite(math.Sqrt(stats.Variance))
	}
	return &statisticsOutput{out}, nil
}

type percentilesInput struct {
	indexQuery
	Percents []float64 `json:"percents"`
}

type percentile struct {
	Percent float64 `json:"percent"`
	Value   float64 `json:"value"`
}

type percentilesOutput struct {
	Percentiles []percentile `json:"percentiles"`
}

func getPercentiles(ctx context.Context, s *Server, _ *call, in percentilesInput) (*percentilesOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	field, err := in.aggregated()
	if err != nil {
		return nil, err
	}
	if len(in.Percents) == 0 {
		in.Percents = []float64{1, 5, 25, 50, 75, 95, 99}
	}
	if len(in.Percents) > maxPercents {
		return nil, invalid("percents: at most %d, these are %d", maxPercents, len(in.Percents))
	}
	for _, p := range in.Percents {
		if p < 0 || p > 100 {
			return nil, invalid("percents: each must be from 0 to 100, one is %v", p)
		}
	}
	values, typ, err := s.registry.QueryPercentiles(ctx, in.QueryString, field, in.Percents)
	if err != nil {
		return nil, err
	}
	if typ == index.TextType {
		return nil, wrongAggregation("aggregationField: the values of %s are texts; percentiles need numbers", field)
	}
	pairs := []percentile{}
	for i, v := range values {
		pairs = append(pairs, percentile{in.Percents[i], v})
	}
	return &percentilesOutput{pairs}, nil
}

type cardinalityOutput struct {
	Cardinality int `json:"cardinality"`
}

func getCardinality(ctx context.Context, s *Server, _ *call, in indexQuery) (*cardinalityOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	field, err := in.aggregated()
	if err != nil {
		return nil, err
	}
	n, err := s.registry.QueryCardinality(ctx, in.QueryString, field)
	return &cardinalityOutput{n}, err
}

type bucketsInput struct {
	indexQuery
	Type struct {
		Terms *struct {
			MaxBuckets *int `json:"maxBuckets"`
		} `json:"termsAggregation"`
	} `json:"bucketsAggregationType"`
}

type bucket struct {
	KeyValue string `json:"keyValue"`
	Count    int    `json:"count"`
}

type bucketsOutput struct {
	TotalCount int      `json:"totalCount"`
	Buckets    []bucket `json:"buckets"`
}

func getBuckets(ctx context.Context, s *Server, _ *call, in bucketsInput) (*bucketsOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	if in.AggregationField == "" {
		return nil, invalid("aggregationField is missing")
	}
	field, err := in.aggregated()
	if err != nil {
		return nil, err
	}
	if in.Type.Terms == nil {
		return nil, wrongAggregation("bucketsAggregationType must have termsAggregation")
	}
	limit := defaultBuckets
	if n := in.Type.Terms.MaxBuckets; n != nil {
		limit = *n
	}
	if limit < 1 || limit > maxBuckets {
		return nil, wrongAggregation("maxBuckets must be from 1 to %d, it is %d", maxBuckets, limit)
	}
	found, total, err := s.registry.QueryBuckets(ctx, in.QueryString, field, limit)
	if err != nil {
		return nil, err
	}
	buckets := []bucket{}
	for _, b := range found {
		buckets = append(buckets, bucket{b.Value, b.Things})
	}
	return &bucketsOutput{total, buckets}, nil
}

type indexDescription struct {
	IndexName   string `json:"indexName"`
	IndexStatus string `json:"indexStatus"`
	Schema      string `json:"schema,omitempty"`
}

func describeIndex(_ context.Context, s *Server, c *call) (*indexDescription, error) {
	name, schema := c.labels[0], ""
	if err := checkIndexName(name); err != nil {
		return nil, err
	}
	switch {
	case name == thingsIndex && s.indexing.on():
		schema = s.indexing.schema()
	case name == groupsIndex && s.indexing.groupsOn(): // AWS gives it no schema
	default:
		return nil, notFound("this gateway has no index %q, or it is switched off", short(name))
	}
	return &indexDescription{name, "ACTIVE", schema}, nil
}

type indexList struct {
	Names []string `json:"indexNames"`
}

func listIndices(_ context.Context, s *Server, c *call) (*indexList, error) {
	if _, _, err := page(c); err != nil {
		return nil, err
	}
	names := []string{}
	if s.indexing.on() {
		names = append(names, thingsIndex)
	}
	if s.indexing.groupsOn() {
		names = append(names, groupsIndex)
	}
	return &indexList{names}, nil
}

func getIndexingConfiguration(_ context.Context, s *Server, _ *call) (*indexingConfiguration, error) {
	current := s.indexing.current()
	return &current, nil
}

func updateIndexingConfiguration(_ context.Context, s *Server, _ *call, in indexingConfiguration) (*empty, error) {
	return &empty{}, s.indexing.update(in)
}

type connectivityOutput struct {
	ThingName        string        `json:"thingName"`
	Connected        bool          `json:"connected"`
	Timestamp        *epochSeconds `json:"timestamp,omitempty"`
	DisconnectReason string        `json:"disconnectReason,omitempty"`
}

func getThingConnectivityData(_ context.Context, s *Server, c *call) (*connectivityOutput, error) {
	if err := s.checkIndex(thingsIndex); err != nil {
		return nil, err
	}
	t, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	link := s.registry.Connectivity(t.ID)
	out := &connectivityOutput{ThingName: t.Name, Connected: link.Connected, DisconnectReason: registry.DisconnectReason(link.Reason)}
	if link.SinceMs != 0 {
		at := epochSeconds(link.SinceMs)
		out.Timestamp = &at
	}
	if link.Connected {
		out.DisconnectReason = "NONE"
	}
	return out, nil
}

type queryPlan struct {
	Plan string `json:"plan"`
}

// explainQuery says how a query of the UI is answered.
func explainQuery(ctx context.Context, s *Server, c *call) (*queryPlan, error) {
	plan, err := s.registry.ExplainQuery(ctx, c.arg("q"), true)
	return &queryPlan{plan}, err
}

// indexField is a declared field.
type indexField struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// thingIndexing and groupIndexing are the two halves of AWS's configuration.
type thingIndexing struct {
	Mode             string          `json:"thingIndexingMode"`
	ConnectivityMode string          `json:"thingConnectivityIndexingMode,omitempty"`
	DefenderMode     string          `json:"deviceDefenderIndexingMode,omitempty"`
	NamedShadowMode  string          `json:"namedShadowIndexingMode,omitempty"`
	ManagedFields    []indexField    `json:"managedFields,omitempty"`
	CustomFields     []indexField    `json:"customFields,omitempty"`
	Filter           json.RawMessage `json:"filter,omitempty"`
}

type groupIndexing struct {
	Mode          string       `json:"thingGroupIndexingMode"`
	ManagedFields []indexField `json:"managedFields,omitempty"`
	CustomFields  []indexField `json:"customFields,omitempty"`
}

type indexingConfiguration struct {
	Things *thingIndexing `json:"thingIndexingConfiguration,omitempty"`
	Groups *groupIndexing `json:"thingGroupIndexingConfiguration,omitempty"`
}
