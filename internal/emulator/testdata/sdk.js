const snowflake = require('snowflake-sdk');
const fs = require('fs');
snowflake.configure({ logLevel: 'OFF', disableOCSPChecks: true });
const [, , url, keyFile] = process.argv;
const connection = snowflake.createConnection({
  account: 'EMULATOR', accessUrl: url, username: 'QUERYWARDEN', authenticator: 'SNOWFLAKE_JWT', privateKey: fs.readFileSync(keyFile, 'utf8'),
  role: 'QUERYWARDEN_ROLE', warehouse: 'COMPUTE', database: 'RETAIL', schema: 'PUBLIC', clientSessionKeepAlive: false,
});
const run = (sqlText, binds) => new Promise((resolve, reject) =>
  connection.execute({ sqlText, binds, complete: (err, stmt, rows) => err ? reject(err) : resolve(rows) }));
connection.connect(async (err) => {
  if (err) { console.log('connect', err.message); process.exit(1); }
  try {
    console.log(JSON.stringify(await run("SELECT 1 AS A, 'x' AS B, TRUE AS C, 1.25::NUMBER(10,2) AS D, '2024-02-29'::DATE AS E, NULL AS F")));
    console.log((await run("SELECT a.ID FROM ORDERS b, CUSTOMERS a LIMIT 100000")).length);
    console.log(JSON.stringify(await run("SELECT ? AS A, ? AS B", [7, "it's"])));
    try { await run("SELECT * FROM NOWHERE"); } catch (e) { console.log(e.code, e.sqlState); }
    connection.destroy(() => process.exit(0));
  } catch (e) { console.log('failed', e.message); process.exit(1); }
});
