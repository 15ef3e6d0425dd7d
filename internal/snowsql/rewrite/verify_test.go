package rewrite

import (
	"testing"

	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
	"querywarden/policy/mask"
)

// TestVerify shows the proof texts that the rewriter never writes.
func TestVerify(t *testing.T) {
	customers := policy.Object{Kind: policy.TableObject, Database: "DB", Schema: "S", Name: "C"}
	orders := policy.Object{Kind: policy.TableObject, Database: "DB", Schema: "S", Name: "O"}
	rw := &rewriter{
		masks:      map[column]mask.Mask{{customers, "SSN"}: {}},
		filters:    map[policy.Object][]string{orders: {"region = 'EU'"}},
		guarded:    map[policy.Object]bool{customers: true, orders: true},
		texts:      map[column]string{{customers, "SSN"}: "'***'"},
		conditions: map[policy.Object]string{orders: "((Q.REGION = 'EU'))"},
	}
	for text, proven := range map[string]bool{
		"SELECT SSN FROM (SELECT Q.ID, '***' AS SSN FROM DB.S.C AS Q) AS C": true,
		"SELECT COUNT(*) FROM (SELECT 1 AS ONE FROM DB.S.C AS Q) AS C":      true,
		"SELECT ID FROM DB.S.P AS P":                                        true,
		"WITH C AS (SELECT 1 AS SSN) SELECT SSN FROM C":                     true,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                     true,
		"SELECT COUNT(*) FROM (SELECT 1 AS ONE FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                                                        true,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                                                                  false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID END AS ID FROM DB.S.O AS Q) AS O":                                               false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'US')) THEN Q.ID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                     false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID ELSE Q.ID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":           false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID WHEN TRUE THEN Q.ID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O": false,
		"SELECT ID FROM (SELECT CASE 1 WHEN ((Q.REGION = 'EU')) THEN Q.ID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                   false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.CID END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                    false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID + 1 END AS ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                 false,
		"SELECT ID FROM (SELECT CASE WHEN ((Q.REGION = 'EU')) THEN Q.ID END FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU'))) AS O":                           false,
		"DELETE FROM DB.S.C AS C WHERE ID IN (SELECT ID FROM (SELECT Q.ID FROM DB.S.C AS Q) AS C)":                                                      true,
		"SELECT SSN FROM DB.S.C AS C":                                                                            false,
		"SELECT ID FROM DB.S.C AS C":                                                                             false,
		"SELECT SSN FROM (SELECT Q.SSN FROM DB.S.C AS Q) AS C":                                                   false,
		"SELECT SSN FROM (SELECT Q.SSN AS SSN FROM DB.S.C AS Q) AS C":                                            false,
		"SELECT X FROM (SELECT Q.SSN || '' AS X FROM DB.S.C AS Q) AS C":                                          false,
		"SELECT SSN FROM (SELECT '*' AS SSN FROM DB.S.C AS Q) AS C":                                              false,
		"SELECT SSN FROM (SELECT UPPER(Q.SSN) AS SSN FROM DB.S.C AS Q) AS C":                                     false,
		"SELECT SSN FROM (SELECT * FROM DB.S.C AS Q) AS C":                                                       false,
		"SELECT ID FROM (SELECT ID FROM DB.S.C AS Q) AS C":                                                       false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.C AS Q WHERE Q.SSN = '1') AS C":                                   false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.C AS Q ORDER BY Q.SSN) AS C":                                      false,
		"SELECT ID FROM (SELECT DISTINCT Q.ID FROM DB.S.C AS Q QUALIFY Q.SSN = '1') AS C":                        false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.C AS Q, DB.S.P AS P) AS C":                                        false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.C AS Q (SSN, ID)) AS C":                                           false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.O AS Q) AS O":                                                     false,
		"SELECT ID FROM (SELECT Q.ID FROM DB.S.O AS Q WHERE ((Q.REGION = 'EU')) OR TRUE) AS O":                   false,
		"SELECT ID FROM P WHERE EXISTS (SELECT 1 FROM DB.S.C AS C)":                                              false,
		"CREATE TABLE DB.S.T CLONE DB.S.C":                                                                       false,
		"INSERT INTO DB.S.C SELECT ID FROM DB.S.C AS C":                                                          false,
		"COPY INTO @stage FROM DB.S.C":                                                                           false,
		"SELECT ID FROM (SELECT Q.ID, '***' AS SSN FROM DB.S.C AS Q) AS A INNER JOIN DB.S.C AS B ON A.ID = B.ID": false,
		"SELECT * FROM TABLE(F(TABLE(DB.S.C)))":                                                                  false,
	} {
		stmt, err := parser.ParseStatement(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := rw.verify(stmt); (err == nil) != proven {
			t.Errorf("%s: %v", text, err)
		}
	}
}
