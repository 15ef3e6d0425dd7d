package console

import (
	"net/http"
	"strconv"
	"time"

	"querywarden/audit"
)

// A bar is one rectangle of a chart.
type bar struct {
	X, Y, W, H float64
	Tone       string
	Title      string
}

// A chart is drawn here, as SVG: width and height are those of its view box.
type chart struct {
	Name          string
	Width, Height float64
	Bars          []bar
	Grid          []gridline
	Labels        []label
	Total         int64
}

type gridline struct {
	Y     float64
	Label string
}

type label struct {
	X    float64
	Text string
}

// A layer is one kind of count, drawn over those before it.
type layer struct {
	tone, name string
	of         func(audit.Day) int64
}

const (
	chartWidth, chartHeight = 720.0, 200.0
	chartLeft, chartBottom  = 64.0, 40.0
)

// drawDays draws stacked bars, a day each.
func drawDays(name string, days []audit.Day, layers []layer) chart {
	c := chart{Name: name, Width: chartWidth, Height: chartHeight}
	var top int64
	for _, d := range days {
		var sum int64
		for _, l := range layers {
			sum += l.of(d)
		}
		c.Total += sum
		top = max(top, sum)
	}
	top = round(max(top, 4))
	plot := chartHeight - chartBottom - 14
	for i := range int64(3) {
		c.Grid = append(c.Grid, gridline{chartHeight - chartBottom - plot*float64(i)/2, grouped(top * i / 2)})
	}
	slot := (chartWidth - chartLeft - 4) / float64(max(len(days), 1))
	for i, d := range days {
		x, y := chartLeft+slot*float64(i), chartHeight-chartBottom
		for _, l := range layers {
			n := l.of(d)
			if n <= 0 {
				continue
			}
			h := plot * float64(n) / float64(top)
			y -= h
			c.Bars = append(c.Bars, bar{x + slot*0.1, y, slot * 0.8, h, l.tone, d.Date.Format("2 Jan") + ": " + grouped(n) + " " + l.name})
		}
		if len(days) <= 10 || i%((len(days)+5)/6) == 0 {
			c.Labels = append(c.Labels, label{x + slot/2, d.Date.Format("2 Jan")})
		}
	}
	return c
}

// round makes the top of a scale an even number that people read well.
func round(n int64) int64 {
	for step := int64(1); ; step *= 10 {
		for _, m := range []int64{2, 4, 6, 8, 10} {
			if n <= m*step {
				return m * step
			}
		}
	}
}

type activityData struct {
	Days   int
	Spans  []int
	Charts []chart
	Table  []audit.Day
	Sum    audit.Day
}

// activity shows how much happened by day.
func (c *Console) activity(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	data := activityData{Days: 30, Spans: []int{7, 30, 90}}
	for _, n := range data.Spans {
		if r.URL.Query().Get("days") == strconv.Itoa(n) {
			data.Days = n
		}
	}
	now := c.now().UTC()
	days, err := c.config.Reader.Days(r.Context(), now.AddDate(0, 0, 1-data.Days), now.Add(time.Second))
	if err != nil {
		c.broken(w, r, err)
		return
	}
	for _, d := range days {
		data.Sum.Statements += d.Statements
		data.Sum.Refused += d.Refused
		data.Sum.Asked += d.Asked
		data.Sum.Failed += d.Failed
		data.Sum.Approved += d.Approved
		data.Sum.Denied += d.Denied
	}
	data.Table = days
	data.Charts = []chart{
		drawDays("Statements", days, []layer{
			{"good", "allowed", func(d audit.Day) int64 { return d.Statements - d.Refused - d.Asked }},
			{"wait", "that need a person", func(d audit.Day) int64 { return d.Asked }},
			{"bad", "refused", func(d audit.Day) int64 { return d.Refused }},
		}),
		drawDays("Decisions of people", days, []layer{
			{"good", "approved", func(d audit.Day) int64 { return d.Approved }},
			{"bad", "denied", func(d audit.Day) int64 { return d.Denied }},
		}),
	}
	c.show(w, r, http.StatusOK, "activity", page{Title: "Activity", Here: "activity", Data: data})
}
