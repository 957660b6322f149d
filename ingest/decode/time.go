package decode

// pow10 holds the powers of ten that a uint64 holds.
var pow10 = [...]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// unixMs returns the Unix milliseconds of a numeric time, rounded down.
//
// The unit is seen by the magnitude: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else
// nanoseconds; each reading then lies between 1970 and 5138.
func (n number) unixMs() (int64, fault) {
	if n.mant == 0 {
		return 0, ok
	}
	whole, fits := n.scaled(0)
	if n.neg || !fits {
		return 0, faultTimeRange
	}
	shift := -6
	switch {
	case whole < 1e11:
		shift = 3
	case whole < 1e14:
		shift = 0
	case whole < 1e17:
		shift = -3
	}
	ms, _ := n.scaled(shift)
	return int64(ms), ok
}

// scaled returns floor(mant * 10^(exp+shift)), and whether a uint64 holds it.
func (n number) scaled(shift int) (uint64, bool) {
	e := n.exp + shift
	switch {
	case e >= len(pow10):
		return 0, false
	case e >= 0:
		v := n.mant * pow10[e]
		return v, v/pow10[e] == n.mant
	case -e >= len(pow10):
		return 0, true
	}
	return n.mant / pow10[-e], true
}

// parseTime returns the Unix milliseconds of an RFC 3339 date-time (section 5.6), rounded down. A blank may stand for the T,
// and the second 60 is the first one of the next minute.
func parseTime(s []byte) (int64, fault) {
	const shape = "0000-00-00T00:00:00"
	if len(s) <= len(shape) || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return 0, faultTime
	}
	year, good := digits(s[0:4])
	month, good1 := digits(s[5:7])
	day, good2 := digits(s[8:10])
	hour, good3 := digits(s[11:13])
	minute, good4 := digits(s[14:16])
	second, good5 := digits(s[17:19])
	if !(good && good1 && good2 && good3 && good4 && good5) || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 60 {
		return 0, faultTime
	}
	s = s[len(shape):]
	ms := int64(0)
	if s[0] == '.' {
		i := 1
		for unit := int64(100); i < len(s) && s[i]-'0' <= 9; i++ {
			ms += unit * int64(s[i]-'0')
			unit /= 10
		}
		if i == 1 {
			return 0, faultTime
		}
		s = s[i:]
	}
	offset, f := parseOffset(s)
	if f != ok {
		return 0, f
	}
	ms += ((int64(daysSince1970(year, month, day))*24+int64(hour))*60+int64(minute)-int64(offset))*60_000 + int64(second)*1000
	if ms < 0 {
		return 0, faultTimeRange
	}
	return ms, ok
}

// parseOffset returns the minutes east of UTC of "Z" or "+hh:mm", which must be all of s.
func parseOffset(s []byte) (int, fault) {
	if len(s) == 1 && s[0]|0x20 == 'z' {
		return 0, ok
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, faultTime
	}
	hour, good := digits(s[1:3])
	minute, good1 := digits(s[4:6])
	if !good || !good1 || hour > 23 || minute > 59 {
		return 0, faultTime
	}
	if s[0] == '-' {
		return -(hour*60 + minute), ok
	}
	return hour*60 + minute, ok
}

// digits returns the number that s, all decimal digits, spells.
func digits(s []byte) (n int, good bool) {
	for _, c := range s {
		c -= '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

// daysIn returns the days of a month of the Gregorian calendar.
func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts the days from 1970-01-01 to a date of the Gregorian calendar. The year is taken to begin in March, so
// that the leap day is its last: (153*m+2)/5 is the day on which month m of it begins, 719468 is 1970-01-01 counted from 0000-03-01.
func daysSince1970(year, month, day int) int {
	month -= 3
	if month < 0 {
		month += 12
		year--
	}
	// Year 0000 January is year -1 here; 400 years more keep the divisions in the positive.
	year += 400
	return year*365 + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 1 - 719468 - 146097
}
