-- What agents write for Snowflake and the embedded warehouse has no words for. It
-- is judged, and must not be refused.

-- Plans
explain select region, sum(amount) from orders group by region
explain using text select c.country, count(*) from customers c join orders o on o.customer_id = c.id group by 1
explain using json select * from customer_revenue where revenue > 100
-- Patterns over rows, trees, times gone by
select * from orders match_recognize (partition by customer_id order by ordered_at measures first(ordered_at) as began, last(ordered_at) as ended, count(*) as n one row per match after match skip past last row pattern (a b+) define b as datediff(day, lag(ordered_at), ordered_at) <= 7)
select level, order_id from order_items start with line = 1 connect by prior line = line - 1 and prior order_id = order_id
select count(*) from orders at (offset => -3600)
select n.order_id from orders n left join orders at (timestamp => dateadd(hour, -1, current_timestamp())) b on b.order_id = n.order_id where b.order_id is null
select metadata$action, count(*) from orders changes (information => default) at (offset => -86400) group by 1
select * from orders sample bernoulli (1) seed (7)
select * from orders tablesample (100 rows)
-- Functions that only Snowflake has
select hll(customer_id), approx_percentile(amount, 0.9), approx_top_k(region, 3) from orders
select transform(array_agg(amount), x -> x * 1.1) from orders
select filter(array_agg(amount), x -> x > 10), reduce(array_agg(amount), 0, (a, x) -> a + x) from orders
select conditional_change_event(status) over (partition by customer_id order by ordered_at) as run, order_id from orders
select time_slice(ordered_at, 15, 'minute') as quarter_hour, count(*) from orders group by 1 order by 1
select st_distance(st_makepoint(0, 0), st_makepoint(1, 1))
select object_agg(region, n) from (select region, count(*)::variant as n from orders group by 1)
select f.value:sku::string as sku, f.this, f.path from events e, lateral flatten(input => e.payload, path => 'cart', recursive => true, mode => 'both') f
select * ilike '%id' from orders
select {* exclude amount} as o from orders limit 1
select booland_agg(amount > 0), skew(amount), kurtosis(amount) from orders
select region, listagg(distinct channel, ',') within group (order by channel) over (partition by region) from orders
with t as (select dateadd(day, seq4(), date '2024-01-01') as d from table(generator(rowcount => 366))) select d, count(o.order_id) from t left join orders o on o.ordered_at::date = d group by d
select strtok_to_array(subject, ' ')[0]::string as word, count(*) from support_tickets group by 1 order by 2 desc
select s.value, count(*) from support_tickets t, lateral split_to_table(t.subject, ' ') s group by 1 order by 2 desc limit 20
select regexp_substr_all(subject, '[A-Z]\\w+') from support_tickets
select * from orders pivot (sum(amount) for region in (any order by region))
insert all when amount > 100 then into staging.big (id) values (order_id) else into staging.small (id) values (order_id) select order_id, amount from orders
select width_bucket(amount, 0, 1000, 10) as bucket, count(*) as n, min(amount), max(amount) from orders group by 1 order by 1
select t.ticket_id, o.order_id from support_tickets t asof join orders o match_condition (t.opened_at >= o.ordered_at) on t.customer_id = o.customer_id order by t.ticket_id, o.order_id limit 20
