package mask

// findIBAN returns the international bank account number (ISO 13616) whose
// first check digit stands at text[i]: two letters, two check digits, and as
// many letters and digits as its country's accounts have, alone or in groups
// with one space or dash between, such that the whole is 1 modulo 97. Nothing
// before text[from] belongs to it.
func findIBAN(text string, from, i int) (Span, bool) {
	start := i - 2
	if start < from || !isLetter(text[start]) || !isLetter(text[start+1]) || start > 0 && isWordByte(text[start-1]) {
		return Span{}, false
	}
	length := ibanLength(upper(text[start]), upper(text[start+1]))
	if length == 0 {
		return Span{}, false
	}
	// The check moves the first four characters to the end: their value is
	// kept apart and multiplied in last.
	head, rest, end := 0, 0, start
	for n := range length {
		if n >= 4 && end < len(text) && (text[end] == ' ' || text[end] == '-') {
			end++
		}
		if end >= len(text) || !isWordByte(text[end]) || isLetter(text[end]) != (n < 2) && n < 4 {
			return Span{}, false
		}
		v, scale := int(text[end]-'0'), 10
		if isLetter(text[end]) {
			v, scale = int(upper(text[end])-'A')+10, 100
		}
		if n < 4 {
			head = head*scale + v
		} else {
			rest = (rest*scale + v) % 97
		}
		end++
	}
	if end < len(text) && isWordByte(text[end]) {
		return Span{}, false
	}
	// Two letters and two digits are six decimal digits.
	if (rest*(1_000_000%97)+head)%97 != 1 {
		return Span{}, false
	}
	return Span{start, end, IBAN}, true
}

func upper(b byte) byte {
	if b >= 'a' && b <= 'z' {
		return b - 'a' + 'A'
	}
	return b
}

// ibanLength returns how long the IBANs of a country are, 0 if it has none.
func ibanLength(a, b byte) int {
	for i := 0; i < len(ibanLengths); i += 4 {
		if ibanLengths[i] == a && ibanLengths[i+1] == b {
			return int(ibanLengths[i+2]-'0')*10 + int(ibanLengths[i+3]-'0')
		}
	}
	return 0
}

// ibanLengths is the IBAN registry: country and length, four bytes each.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28" +
	"EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30" +
	"KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24" +
	"PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22" +
	"VG24XK20YE30"
