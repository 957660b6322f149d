package bench

import (
	"fmt"
	mathrand "math/rand/v2"
	"strings"
)

// registryTypes are the thing types of the fleet.
var registryTypes = []string{"lamp", "meter", "pump", "valve", "tracker", "camera", "gate", "sensor"}

// registryCities are the cities of the fleet; a thing's is drawn with a skew, as cities have sizes.
var registryCities = []string{
	"ulm", "oslo", "turin", "lyon", "porto", "graz", "gent", "brno", "split", "umea", "cork", "leeds", "bergen", "lund", "basel", "como",
	"delft", "essen", "fulda", "genoa", "halle", "izmir", "jena", "kiel", "lviv", "metz", "nice", "olbia", "pisa", "riga", "siena", "tartu",
}

// registryThing is thing i of a fleet: everything follows from its number.
type registryThing struct {
	name, typeName string
	attributes     map[string]string
}

func newRegistryThing(i int) registryThing {
	rng := mathrand.New(mathrand.NewPCG(uint64(i), 0x7e9))
	city := min(rng.IntN(len(registryCities)), rng.IntN(len(registryCities)))
	return registryThing{
		name:     fmt.Sprintf("reg-%06d", i),
		typeName: registryTypes[rng.IntN(len(registryTypes))],
		attributes: map[string]string{
			"city":     registryCities[city],
			"site":     fmt.Sprintf("site-%03d", i/100),
			"floor":    fmt.Sprint(rng.IntN(40)),
			"firmware": fmt.Sprintf("%d.%d.%d", 1+rng.IntN(3), rng.IntN(8), rng.IntN(10)),
			"serial":   fmt.Sprintf("sn-%08x", rng.Uint32()),
		},
	}
}

// appendJSON appends the body of the request that makes the thing. No text in it needs escapes.
func (t registryThing) appendJSON(dst []byte) []byte {
	dst = fmt.Appendf(dst, `{"thingTypeName":"%s","attributePayload":{"attributes":{`, t.typeName)
	first := true
	for key, value := range t.attributes {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = fmt.Appendf(dst, `"%s":"%s"`, key, value)
	}
	return append(dst, "}}}"...)
}

// registryTerm draws one term over a fleet of n things, of any kind that the language has.
func registryTerm(rng *mathrand.Rand, n int) string {
	thing := newRegistryThing(rng.IntN(n))
	switch rng.IntN(14) {
	case 0, 1, 2:
		return "attributes.city:" + registryCities[rng.IntN(len(registryCities))]
	case 3, 4:
		return "thingTypeName:" + registryTypes[rng.IntN(len(registryTypes))]
	case 5:
		return fmt.Sprintf("attributes.floor>%d", rng.IntN(40))
	case 6:
		low := rng.IntN(30)
		return fmt.Sprintf("attributes.floor:[%d TO %d}", low, low+1+rng.IntN(10))
	case 7:
		return "attributes.firmware:" + thing.attributes["firmware"][:3] + "*"
	case 8:
		return "attributes.site:" + thing.attributes["site"]
	case 9:
		return "attributes.serial:*" + thing.attributes["serial"][5:8] + "*"
	case 10:
		return "thingName:" + thing.name[:7] + "*"
	case 11:
		return "connectivity.connected:true"
	case 12:
		return "attributes.serial:/^sn-" + thing.attributes["serial"][3:5] + "/"
	}
	return thing.attributes["city"]
}

// registryQuery draws a query of the given number of terms: AND, OR, NOT and parentheses at random.
func registryQuery(rng *mathrand.Rand, n, terms int) string {
	if terms == 1 {
		if rng.IntN(6) == 0 {
			return "NOT " + registryTerm(rng, n)
		}
		return registryTerm(rng, n)
	}
	left := 1 + rng.IntN(terms-1)
	operator := " AND "
	if rng.IntN(2) == 0 {
		operator = " OR "
	}
	return "(" + strings.Join([]string{registryQuery(rng, n, left), registryQuery(rng, n, terms-left)}, operator) + ")"
}
