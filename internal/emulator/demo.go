package emulator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// The sizes of the demo's tables.
const (
	demoCustomers = 200
	demoProducts  = 48
	demoOrders    = 1000
	demoTickets   = 100
	demoEvents    = 500
)

// demoSchema makes the demo's tables and views, in Snowflake's dialect.
const demoSchema = `
CREATE DATABASE IF NOT EXISTS RETAIL;
USE SCHEMA RETAIL.PUBLIC;

CREATE OR REPLACE TABLE CUSTOMERS (
  ID NUMBER(38,0) NOT NULL COMMENT 'Customer number',
  NAME VARCHAR(100) NOT NULL,
  EMAIL VARCHAR(200) COMMENT 'Personal data',
  PHONE VARCHAR(30) COMMENT 'Personal data',
  SSN VARCHAR(11) COMMENT 'US social security number, personal data',
  CARD_NUMBER VARCHAR(19) COMMENT 'Payment card on file',
  BIRTH_DATE DATE COMMENT 'Personal data',
  CITY VARCHAR(80),
  COUNTRY VARCHAR(2) COMMENT 'ISO 3166 code',
  SEGMENT VARCHAR(20),
  CREATED_AT TIMESTAMP_NTZ NOT NULL
) COMMENT = 'One row a customer, with personal data';

CREATE OR REPLACE TABLE PRODUCTS (
  PRODUCT_ID NUMBER(38,0) NOT NULL,
  NAME VARCHAR(100) NOT NULL,
  CATEGORY VARCHAR(40),
  PRICE NUMBER(10,2),
  ACTIVE BOOLEAN
) COMMENT = 'What the shop sells';

CREATE OR REPLACE TABLE ORDERS (
  ORDER_ID NUMBER(38,0) NOT NULL,
  CUSTOMER_ID NUMBER(38,0) NOT NULL,
  ORDERED_AT TIMESTAMP_NTZ NOT NULL,
  STATUS VARCHAR(20) NOT NULL,
  REGION VARCHAR(10),
  AMOUNT NUMBER(12,2) NOT NULL COMMENT 'Total of the items, in US dollars',
  CHANNEL VARCHAR(20)
) COMMENT = 'One row an order';

CREATE OR REPLACE TABLE ORDER_ITEMS (
  ORDER_ID NUMBER(38,0) NOT NULL,
  LINE NUMBER(4,0) NOT NULL,
  PRODUCT_ID NUMBER(38,0) NOT NULL,
  QUANTITY NUMBER(6,0) NOT NULL,
  UNIT_PRICE NUMBER(10,2) NOT NULL
) COMMENT = 'The lines of orders';

CREATE OR REPLACE TABLE SUPPORT_TICKETS (
  TICKET_ID NUMBER(38,0) NOT NULL,
  CUSTOMER_ID NUMBER(38,0),
  OPENED_AT TIMESTAMP_NTZ NOT NULL,
  PRIORITY VARCHAR(10),
  STATUS VARCHAR(10),
  SUBJECT VARCHAR(200),
  BODY VARCHAR COMMENT 'Free text, as customers write it'
) COMMENT = 'What customers write to support';

CREATE OR REPLACE TABLE EVENTS (
  EVENT_ID NUMBER(38,0) NOT NULL,
  OCCURRED_AT TIMESTAMP_NTZ NOT NULL,
  EVENT_TYPE VARCHAR(30),
  PAYLOAD VARIANT COMMENT 'Device, campaign and cart as the web shop sends them'
) COMMENT = 'Clicks of the web shop';

CREATE SCHEMA IF NOT EXISTS RETAIL.STAGING;
CREATE OR REPLACE TABLE RETAIL.STAGING.IMPORT_2024_OLD (
  ROW_ID NUMBER(38,0),
  RAW_LINE VARCHAR,
  LOADED_AT TIMESTAMP_NTZ
) COMMENT = 'Left over from the import of 2024';
USE SCHEMA RETAIL.PUBLIC;

CREATE OR REPLACE VIEW CUSTOMER_REVENUE COMMENT = 'What each customer has spent' AS
SELECT c.ID AS CUSTOMER_ID, c.NAME, c.EMAIL, c.COUNTRY, c.SEGMENT, COUNT(o.ORDER_ID) AS ORDERS, COALESCE(SUM(o.AMOUNT), 0) AS REVENUE
FROM CUSTOMERS c LEFT JOIN ORDERS o ON o.CUSTOMER_ID = c.ID AND o.STATUS <> 'CANCELLED'
GROUP BY c.ID, c.NAME, c.EMAIL, c.COUNTRY, c.SEGMENT;

CREATE OR REPLACE VIEW DAILY_SALES COMMENT = 'Orders and revenue by day and region' AS
SELECT ORDERED_AT::DATE AS DAY, REGION, COUNT(*) AS ORDERS, SUM(AMOUNT) AS REVENUE
FROM ORDERS WHERE STATUS <> 'CANCELLED' GROUP BY 1, 2;
`

var (
	demoGivenNames = strings.Fields("Ada Alan Amara Anna Ben Bruno Carla Chen Clara Dana David Elena Emil Eva Farah Felix Grace Hana Hugo Ines Ivan Jack Jana Juan Kofi Lara Leo Lena Lin Luca Maria Max Mei Mila Nadia Noah Olga Omar Paul Priya Rafael Rosa Sam Sara Sofia Tariq Theo Vera Yuki Zoe")
	demoSurnames   = strings.Fields("Abbott Alvarez Becker Bergman Brown Castro Chandra Chen Cohen Costa Diallo Dubois Evans Fischer Fontana Garcia Gupta Haddad Hansen Ito Ivanova Jensen Kim Kowalski Kumar Larsen Lopez Maier Mbeki Moreau Nakamura Nguyen Novak Okafor Olsen Park Patel Petrov Quinn Rossi Sato Schmidt Silva Smith Suzuki Tanaka Walker Weber Yilmaz Zhang")
	demoCities     = [][3]string{ // city, country, region
		{"New York", "US", "AMER"}, {"Chicago", "US", "AMER"}, {"Austin", "US", "AMER"}, {"Seattle", "US", "AMER"}, {"Toronto", "CA", "AMER"},
		{"London", "GB", "EMEA"}, {"Berlin", "DE", "EMEA"}, {"Paris", "FR", "EMEA"}, {"Madrid", "ES", "EMEA"}, {"Tokyo", "JP", "APAC"}, {"Sydney", "AU", "APAC"}, {"Singapore", "SG", "APAC"},
	}
	demoCategories = map[string][]string{
		"Kitchen": strings.Fields("Kettle Toaster Skillet Blender Whisk Teapot Grinder Ladle"), "Outdoor": strings.Fields("Tent Lantern Hammock Backpack Stove Cooler Compass Tarp"),
		"Office": strings.Fields("Lamp Desk Chair Organizer Monitor Keyboard Headset Shelf"), "Garden": strings.Fields("Rake Shovel Hose Planter Trowel Gloves Sprinkler Shears"),
		"Sports": strings.Fields("Racket Mat Dumbbell Helmet Bottle Rope Bench Band"), "Toys": strings.Fields("Puzzle Robot Blocks Kite Train Drum Marbles Dollhouse"),
	}
	demoCategoryNames = []string{"Kitchen", "Outdoor", "Office", "Garden", "Sports", "Toys"}
)

// A demoWriter writes the demo's rows as INSERT statements.
type demoWriter struct {
	strings.Builder
	random *rand.Rand
}

// pick returns one of a list.
func pick[T any](w *demoWriter, list []T) T { return list[w.random.IntN(len(list))] }

// rows writes one INSERT of n rows; row returns the cells as SQL.
func (w *demoWriter) rows(head string, n int, row func(i int) []string) {
	w.WriteString(head + " VALUES\n")
	for i := range n {
		if i > 0 {
			w.WriteString(",\n")
		}
		w.WriteString("(" + strings.Join(row(i), ", ") + ")")
	}
	w.WriteString(";\n")
}

func demoQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// cents is an amount of money as SQL.
func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }

func demoTime(t time.Time) string { return demoQuote(t.Format(time.DateTime)) }

// card returns a card number whose check digit is right, of the ranges that
// payment providers keep for tests.
func (w *demoWriter) card() string {
	digits := pick(w, []string{"42424242", "40000566", "55555555", "52008282"})
	for len(digits) < 15 {
		digits += strconv.Itoa(w.random.IntN(10))
	}
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return digits + strconv.Itoa((10-sum%10)%10)
}

func (w *demoWriter) ssn() string {
	return fmt.Sprintf("%03d-%02d-%04d", 100+w.random.IntN(500), 1+w.random.IntN(99), 1+w.random.IntN(9999))
}

// DemoScript returns a script for [Emulator.Exec] that makes a small retail
// shop in the database RETAIL: customers with personal data, orders, tickets
// whose text holds card numbers, events with a VARIANT, two views, and a table
// in STAGING that nobody needs. It is the same at every call, and replaces
// what an earlier run has made. All people, numbers and addresses are made up.
func DemoScript() string {
	w := &demoWriter{random: rand.New(rand.NewPCG(2024, 8))}
	w.WriteString(demoSchema)
	w.WriteString("BEGIN;\n")
	end := time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC)
	ago := func(days int) time.Time {
		return end.Add(-time.Duration(w.random.IntN(days*24*60)) * time.Minute)
	}

	type customer struct{ name, email, phone, ssn, card, city, country, region string }
	customers := make([]customer, demoCustomers)
	w.rows("INSERT INTO RETAIL.PUBLIC.CUSTOMERS", demoCustomers, func(i int) []string {
		given, surname := pick(w, demoGivenNames), pick(w, demoSurnames)
		place := pick(w, demoCities)
		c := customer{
			name:  given + " " + surname,
			email: fmt.Sprintf("%s.%s%d@%s", strings.ToLower(given), strings.ToLower(surname), i+1, pick(w, []string{"example.com", "example.org", "example.net"})),
			phone: fmt.Sprintf("+1-%d-555-01%02d", 201+w.random.IntN(700), w.random.IntN(100)),
			ssn:   w.ssn(), card: w.card(), city: place[0], country: place[1], region: place[2],
		}
		customers[i] = c
		birth := time.Date(1945+w.random.IntN(60), time.Month(1+w.random.IntN(12)), 1+w.random.IntN(28), 0, 0, 0, 0, time.UTC)
		ssn, phone := demoQuote(c.ssn), demoQuote(c.phone)
		if c.country != "US" {
			ssn = "NULL"
		}
		if i%17 == 0 {
			phone = "NULL"
		}
		return []string{
			strconv.Itoa(i + 1), demoQuote(c.name), demoQuote(c.email), phone, ssn, demoQuote(c.card), demoQuote(birth.Format(time.DateOnly)),
			demoQuote(c.city), demoQuote(c.country), demoQuote(pick(w, []string{"consumer", "consumer", "consumer", "business", "premium"})), demoTime(ago(1200)),
		}
	})

	prices := make([]int, demoProducts)
	w.rows("INSERT INTO RETAIL.PUBLIC.PRODUCTS", demoProducts, func(i int) []string {
		category := demoCategoryNames[i%len(demoCategoryNames)]
		prices[i] = 495 + 100*w.random.IntN(200)
		return []string{
			strconv.Itoa(i + 1), demoQuote(demoCategories[category][i/len(demoCategoryNames)]), demoQuote(category), cents(prices[i]), strings.ToUpper(strconv.FormatBool(i%11 != 10)),
		}
	})

	var lines [][]string
	w.rows("INSERT INTO RETAIL.PUBLIC.ORDERS", demoOrders, func(i int) []string {
		buyer := w.random.IntN(demoCustomers)
		total := 0
		for line := range 1 + w.random.IntN(4) {
			product, quantity := w.random.IntN(demoProducts), 1+w.random.IntN(3)
			total += quantity * prices[product]
			lines = append(lines, []string{strconv.Itoa(i + 1), strconv.Itoa(line + 1), strconv.Itoa(product + 1), strconv.Itoa(quantity), cents(prices[product])})
		}
		return []string{
			strconv.Itoa(i + 1), strconv.Itoa(buyer + 1), demoTime(ago(365)),
			demoQuote(pick(w, []string{"DELIVERED", "DELIVERED", "DELIVERED", "SHIPPED", "OPEN", "CANCELLED", "RETURNED"})),
			demoQuote(customers[buyer].region), cents(total), demoQuote(pick(w, []string{"web", "web", "app", "store"})),
		}
	})
	w.rows("INSERT INTO RETAIL.PUBLIC.ORDER_ITEMS", len(lines), func(i int) []string { return lines[i] })

	w.rows("INSERT INTO RETAIL.PUBLIC.SUPPORT_TICKETS", demoTickets, func(i int) []string {
		who := w.random.IntN(demoCustomers)
		subject, body := w.ticket(i, customers[who].name, customers[who].email, customers[who].card, customers[who].ssn)
		return []string{
			strconv.Itoa(i + 1), strconv.Itoa(who + 1), demoTime(ago(180)), demoQuote(pick(w, []string{"low", "normal", "normal", "high"})),
			demoQuote(pick(w, []string{"open", "pending", "closed", "closed"})), demoQuote(subject), demoQuote(body),
		}
	})

	w.rows("INSERT INTO RETAIL.PUBLIC.EVENTS SELECT COLUMN1, COLUMN2::TIMESTAMP_NTZ, COLUMN3, PARSE_JSON(COLUMN4) FROM", demoEvents, func(i int) []string {
		who := w.random.IntN(demoCustomers)
		kind := pick(w, []string{"page_view", "page_view", "add_to_cart", "checkout", "search"})
		return []string{strconv.Itoa(i + 1), demoTime(ago(90)), demoQuote(kind), demoQuote(w.payload(who+1, customers[who].email, kind, prices))}
	})

	w.rows("INSERT INTO RETAIL.STAGING.IMPORT_2024_OLD", 40, func(i int) []string {
		c := customers[i]
		return []string{strconv.Itoa(i + 1), demoQuote(strings.Join([]string{c.name, c.email, c.city}, ";")), demoQuote("2024-02-11 03:15:00")}
	})
	w.WriteString("COMMIT;\n")
	return w.String()
}

// ticket writes a ticket. About one in four tells support what should not be
// in a ticket: a card number, or a social security number.
func (w *demoWriter) ticket(i int, name, email, card, ssn string) (subject, body string) {
	order := strconv.Itoa(1 + w.random.IntN(demoOrders))
	switch i % 8 {
	case 0:
		spaced := card[:4] + " " + card[4:8] + " " + card[8:12] + " " + card[12:]
		return "Charged twice for order " + order, "Hi, my card " + spaced + " was charged twice for order " + order + ". Please refund one of them. Regards, " + name
	case 4:
		return "Verify my identity", "You asked me to confirm who I am. My social is " + ssn + " and my mail is " + email + "."
	case 1:
		return "Where is order " + order + "?", "It should have been here on Tuesday, and tracking has not moved since."
	case 2:
		return "Return of order " + order, "The colour is not what the picture shows. How do I send it back?"
	case 3:
		return "Change of address", "I have moved. Please send order " + order + " to the new address in my account."
	case 5:
		return "Voucher does not work", "The shop says that the code SPRING is unknown. It's in your own newsletter!"
	case 6:
		return "Thank you", "Order " + order + " came a day early and is just what I wanted."
	default:
		return "Broken on arrival", "One item of order " + order + " is broken. I can send photos."
	}
}

// payload writes an event's JSON.
func (w *demoWriter) payload(customer int, email, kind string, prices []int) string {
	var items []string
	if kind == "add_to_cart" || kind == "checkout" {
		for range 1 + w.random.IntN(3) {
			product := w.random.IntN(demoProducts)
			items = append(items, fmt.Sprintf(`{"product_id": %d, "quantity": %d, "price": %s}`, product+1, 1+w.random.IntN(2), cents(prices[product])))
		}
	}
	utm := ""
	if w.random.IntN(3) > 0 {
		utm = fmt.Sprintf(`, "utm": {"source": %q, "campaign": %q}`, pick(w, []string{"newsletter", "search", "social"}), pick(w, []string{"spring", "summer", "outlet"}))
	}
	return fmt.Sprintf(`{"customer": {"id": %d, "email": %q}, "device": {"os": %q, "type": %q, "version": "%d.%d"}%s, "items": [%s], "session": {"ip": "203.0.113.%d", "seconds": %d}}`,
		customer, email, pick(w, []string{"ios", "android", "windows", "macos"}), pick(w, []string{"phone", "tablet", "desktop"}),
		10+w.random.IntN(8), w.random.IntN(10), utm, strings.Join(items, ", "), 1+w.random.IntN(254), 5+w.random.IntN(1800))
}
