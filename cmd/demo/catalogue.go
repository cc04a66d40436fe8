package main

import "fmt"

// product is one thing the shop sells.
type product struct {
	Slug    string // its place in URLs, and the name of its drawing
	Name    string
	Price   cents
	Summary string // one line, for the catalogue
	Text    string // a paragraph, for the product's own page
	Details []detail
}

// detail is one row of a product's table of facts.
type detail struct{ Name, Value string }

// cents is an amount of money in hundredths of a dollar.
type cents int

func (c cents) String() string { return fmt.Sprintf("$%d.%02d", c/100, c%100) }

// times returns the price of n pieces.
func (c cents) times(n int) cents { return c * cents(n) }

// catalogue lists every product in the order in which the shop shows them.
var catalogue = []product{
	{
		Slug: "storm-lantern", Name: "Storm lantern", Price: 4800,
		Summary: "Burns for twenty hours, whatever the wind says.",
		Text: "A cold-blast lantern of tinned steel with a globe of heat-proof glass. Hang it on the " +
			"porch, carry it to the boathouse, or leave it on the table and pretend the power is out.",
		Details: []detail{{"Height", "10 in"}, {"Burns", "Lamp oil, 20 hours"}, {"Finish", "Harbour red"}},
	},
	{
		Slug: "manila-rope", Name: "Manila rope, 50 ft", Price: 2650,
		Summary: "Three strands, hard laid, smells of the quay.",
		Text: "Natural fibre rope that holds a knot and is kind to the hands. For mooring lines, " +
			"swings, banisters, and anything else that should stay where you put it.",
		Details: []detail{{"Diameter", "1/2 in"}, {"Length", "50 ft"}, {"Working load", "264 lb"}},
	},
	{
		Slug: "enamel-mug", Name: "Enamel mug", Price: 1200,
		Summary: "Twelve ounces of coffee, one blue rim.",
		Text: "Two coats of enamel over steel, fired twice. It will chip one day, and you will like " +
			"it better for it.",
		Details: []detail{{"Holds", "12 fl oz"}, {"Care", "Dishwasher safe"}, {"Colour", "Cream with blue rim"}},
	},
	{
		Slug: "oilskin-coat", Name: "Oilskin coat", Price: 18900,
		Summary: "Keeps out the weather since 1931.",
		Text: "Waxed cotton, storm collar, two pockets deep enough for a thermos. Cut long, so that " +
			"the rain runs past your boots and not into them.",
		Details: []detail{{"Sizes", "S to XXL"}, {"Shell", "Waxed cotton"}, {"Lining", "Cotton flannel"}},
	},
	{
		Slug: "pocket-compass", Name: "Pocket compass", Price: 5400,
		Summary: "Solid brass. Points north, mostly.",
		Text: "A liquid-filled compass in a brass case with a lid that closes with a good click. Small " +
			"enough for a waistcoat, heavy enough to be missed when it is gone.",
		Details: []detail{{"Diameter", "2 in"}, {"Case", "Solid brass"}, {"Damping", "Liquid"}},
	},
	{
		Slug: "signal-bell", Name: "Signal bell", Price: 7600,
		Summary: "Dinner, fog, or guests: everyone will know.",
		Text: "Cast bronze on a wall bracket, with a plaited lanyard. The sound carries half a mile " +
			"over water; please be kind to your neighbours.",
		Details: []detail{{"Mouth", "6 in"}, {"Metal", "Cast bronze"}, {"Weight", "4 lb"}},
	},
}

// findProduct returns the product with this slug, and whether there is one.
func findProduct(slug string) (product, bool) {
	for _, p := range catalogue {
		if p.Slug == slug {
			return p, true
		}
	}
	return product{}, false
}
