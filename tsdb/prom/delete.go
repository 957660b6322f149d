package prom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/prometheus/prometheus/model/labels"

	"muster/tsdb"
)

// Deleter is a Store that deletes things and sources.
type Deleter interface {
	DeleteThings(things []tsdb.ThingID) error
}

// DeleteSeries answers /api/v1/admin/tsdb/delete_series: it deletes the sources that match any of match[], with all of their series and
// samples, and answers 204 when that is on disk. The history of a thing goes with the thing.
func (a *API) DeleteSeries(ctx context.Context, form url.Values) Response {
	if err := a.deleteSeries(ctx, form); err != nil {
		return a.refuse(err)
	}
	return Response{Status: http.StatusNoContent}
}

func (a *API) deleteSeries(ctx context.Context, form url.Values) error {
	deleter, ok := a.store.(Deleter)
	if !ok {
		return badData(errors.New("this store deletes nothing"))
	}
	for _, name := range []string{"start", "end"} {
		if form.Get(name) != "" {
			return badParam(name, errors.New("series are deleted as a whole: leave out start and end"))
		}
	}
	sets, err := selectorParams(form, a.parser)
	if err != nil {
		return err
	}
	if len(sets) == 0 {
		return badData(errors.New("no match[] parameter provided"))
	}
	for _, set := range sets {
		for _, m := range set {
			if m.Name == nameLabel {
				return badParam("match[]", fmt.Errorf("sources are deleted with all of their series: name labels such as {job=%q}, and no metric", "node"))
			}
		}
	}
	ids, err := a.sourcesOf(ctx, sets)
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := deleter.DeleteThings(ids); err != nil {
		return err
	}
	a.opts.Log.Info("sources deleted", "sources", len(ids))
	return nil
}

// sourcesOf returns the sources that match all matchers of one of the sets.
func (a *API) sourcesOf(ctx context.Context, sets [][]*labels.Matcher) (ids []tsdb.ThingID, err error) {
	var stored []tsdb.Label
	var shown []Label
	for i := range a.store.Sources() {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		id := tsdb.FirstSource + tsdb.ThingID(i)
		var ok bool
		if stored, ok = a.store.SourceLabels(stored[:0], id); !ok {
			continue
		}
		shown = shown[:0]
		for _, l := range stored {
			shown = append(shown, Label{l.Name, l.Value})
		}
		for _, set := range sets {
			if matchLabels(set, shown) {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids, nil
}
