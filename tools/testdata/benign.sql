-- What the agents of analysts write on an ordinary day, over the demo. None of it
-- may be refused, and what is not masked has to be as it is.

-- Looking around
show tables
show terse tables like '%order%' in schema retail.public limit 5
show tables in database retail
show views in account
show schemas in database retail
show databases
show objects in public
show columns in table customers
show columns in orders
describe table customers
desc view daily_sales
desc table retail.public.orders
select table_name, table_type from information_schema.tables where table_schema = 'PUBLIC' order by table_name
select table_schema, table_name, column_name, data_type from retail.information_schema.columns where column_name ilike '%amount%' order by 1, 2, 3
select c.table_name, count(*) as n from information_schema.columns c join information_schema.tables t on t.table_name = c.table_name and t.table_schema = c.table_schema group by 1 order by 1
select schema_name from information_schema.schemata order by 1
select columns.column_name from information_schema.columns where columns.table_name = 'ORDERS' order by columns.ordinal_position
-- Counting and summing
select count(*) from customers
select count(*) as n, count(distinct country) as countries from customers
select country, count(*) as customers from customers group by country order by customers desc, country
select segment, country, count(*) from customers group by 1, 2 order by 1, 2
select city, count(*) as n from customers group by city having count(*) > 5 order by n desc, city
select count_if(country = 'US') as us, count_if(country <> 'US') as others from customers
select status, count(*) as orders, sum(amount) as revenue, avg(amount) as average from orders group by status order by status
select region, channel, sum(amount) from orders group by rollup (region, channel) order by 1 nulls last, 2 nulls last
select region, channel, count(*) from orders group by cube (region, channel) order by 1 nulls first, 2 nulls first
select region, channel, count(*) from orders group by grouping sets ((region), (channel), ()) order by 1 nulls last, 2 nulls last
select min(amount), max(amount), median(amount), stddev(amount) is not null from orders
select sum(case when status = 'CANCELLED' then 1 else 0 end) as cancelled, count(*) as total from orders
select sum(iff(status = 'CANCELLED', amount, 0)) / sum(amount) as share from orders
select approx_count_distinct(customer_id) > 0 from orders
select region, count(distinct customer_id) as buyers from orders group by region order by region
select category, min(price), max(price), avg(price) from products group by category order by category
select active, count(*) from products group by active order by active
select count(*) from orders where amount > (select avg(amount) from orders)
select max(ordered_at), min(ordered_at) from orders
select listagg(distinct channel, ', ') within group (order by channel) as channels from orders
select region, array_size(array_agg(distinct channel)) as n from orders group by region order by region
select any_value(country) is not null from customers
select mode(status) from orders
select percentile_cont(0.5) within group (order by amount) from orders
select bitand(5, 3), mod(17, 5), 17 % 5, div0(1, 0)
-- Dates
select date_trunc('month', ordered_at) as month, sum(amount) as revenue from orders group by month order by month
select date_trunc(week, ordered_at)::date as week, count(*) from orders group by 1 order by 1
select year(ordered_at) as y, month(ordered_at) as m, count(*) from orders group by y, m order by y, m
select extract(year from ordered_at) as y, count(*) from orders group by 1 order by 1
select dayname(ordered_at) as day, count(*) from orders group by 1 order by 1
select ordered_at::date as day, count(*) as n from orders group by day order by n desc, day limit 5
select count(*) from orders where ordered_at >= '2024-01-01' and ordered_at < '2025-01-01'
select count(*) from orders where ordered_at between '2024-03-01' and '2024-03-31'
select count(*) from orders where ordered_at >= dateadd(day, -30, (select max(ordered_at) from orders))
select datediff(day, min(ordered_at), max(ordered_at)) from orders
select datediff('hour', opened_at, dateadd(hour, 5, opened_at)) as h, count(*) from support_tickets group by 1
select to_char(ordered_at, 'YYYY-MM') as month, count(*) from orders group by 1 order by 1
select last_day(ordered_at::date) as month_end, sum(amount) from orders group by 1 order by 1
select quarter(ordered_at) as q, sum(amount) from orders group by q order by q
select date_part(month, ordered_at) as m, count(*) from orders group by 1 order by 1
select id, created_at::date as since from customers where created_at >= '2024-01-01' order by id limit 20
select hour(ordered_at) as h, count(*) from orders group by h order by h
select date_from_parts(2024, 2, 29), to_date('2024-02-29'), '2024-02-29'::date + 1
select date '2024-01-31' - date '2024-01-01' as days, dateadd(month, 1, date '2024-01-31')
-- Joins
select o.order_id, p.name, i.quantity from orders o join order_items i on i.order_id = o.order_id join products p on p.product_id = i.product_id where o.order_id < 20 order by 1, 2, 3
select p.category, sum(i.quantity * i.unit_price) as revenue from order_items i join products p using (product_id) group by p.category order by revenue desc, p.category
select c.country, sum(o.amount) as revenue from customers c join orders o on o.customer_id = c.id group by c.country order by revenue desc, 1
select c.segment, count(distinct o.order_id) as orders from customers c left join orders o on o.customer_id = c.id group by c.segment order by 1
select c.id, c.city, count(o.order_id) as n from customers c left join orders o on o.customer_id = c.id group by c.id, c.city order by n desc, c.id limit 10
select c.id from customers c left join orders o on o.customer_id = c.id where o.order_id is null order by c.id
select c.country, o.channel, count(*) from orders o inner join customers c on c.id = o.customer_id group by 1, 2 order by 1, 2
select p.product_id, p.name from products p where not exists (select 1 from order_items i where i.product_id = p.product_id) order by 1
select p.product_id from products p full outer join order_items i on i.product_id = p.product_id where i.order_id is null order by 1
select a.product_id, b.product_id from products a join products b on a.category = b.category and a.product_id < b.product_id where a.category = 'Toys' order by 1, 2
select count(*) from customers a cross join products b
select t.ticket_id, c.country from support_tickets t join customers c on c.id = t.customer_id order by t.ticket_id limit 15
select o.order_id, t.ticket_id from orders o join support_tickets t on t.customer_id = o.customer_id and t.opened_at > o.ordered_at order by 1, 2 limit 20
select count(*) from orders natural join order_items
select o.region, count(t.ticket_id) as tickets from orders o left join support_tickets t on t.customer_id = o.customer_id group by o.region order by 1
select x.country, y.region from (select distinct country from customers) x cross join (select distinct region from orders) y order by 1, 2
-- Subqueries and common table expressions
with big as (select customer_id, sum(amount) as spent from orders group by customer_id having sum(amount) > 1000) select count(*), avg(spent) from big
with o as (select customer_id, count(*) as n from orders group by 1), b as (select n, count(*) as customers from o group by n) select * from b order by n
with monthly as (select date_trunc('month', ordered_at) as m, sum(amount) as r from orders group by 1) select m, r, r - lag(r) over (order by m) as growth from monthly order by m
with recursive days (d) as (select date '2024-01-01' union all select d + 1 from days where d < '2024-01-10') select d from days order by d
with first_order as (select customer_id, min(ordered_at) as first_at from orders group by 1) select date_trunc('month', first_at) as cohort, count(*) from first_order group by 1 order by 1
with f as (select customer_id, min(date_trunc('month', ordered_at)) as cohort from orders group by 1) select f.cohort, datediff(month, f.cohort, date_trunc('month', o.ordered_at)) as age, count(distinct o.customer_id) as active from f join orders o on o.customer_id = f.customer_id group by 1, 2 order by 1, 2
select * from (select region, sum(amount) as r from orders group by region) where r > 0 order by r desc, region
select region, amount from orders o where amount = (select max(amount) from orders x where x.region = o.region) order by region, amount
select count(*) from customers where id in (select customer_id from orders where amount > 500)
select count(*) from customers where id not in (select customer_id from orders where customer_id is not null)
select category, (select count(*) from order_items i where i.product_id in (select q.product_id from products q where q.category = p.category)) as sold from products p group by category order by category
select id, (select count(*) from orders o where o.customer_id = c.id) as n from customers c order by n desc, id limit 5
select count(*) from orders where (region, channel) in (select region, channel from orders group by 1, 2 having count(*) > 10)
select count(*) from orders where amount > all (select price from products)
select count(*) from orders where amount < any (select price from products)
with a as (select 1 as x), b as (select x + 1 as y from a) select * from a, b
select (select count(*) from customers) as customers, (select count(*) from orders) as orders
with c as (select country, count(*) as n from customers group by country) select country, n, n / sum(n) over () as share from c order by n desc, country
with r as (select customer_id, max(ordered_at) as last_at, count(*) as f, sum(amount) as m from orders group by 1) select quartile, count(*) from (select ntile(4) over (order by m, customer_id) as quartile from r) group by 1 order by 1
-- Windows
select order_id, amount, rank() over (order by amount desc) as r from orders order by r, order_id limit 10
select region, order_id, row_number() over (partition by region order by amount desc, order_id) as rn from orders qualify rn <= 3 order by region, rn
select order_id, sum(amount) over (order by ordered_at, order_id rows between unbounded preceding and current row) as running from orders order by ordered_at, order_id limit 20
select day, revenue, avg(revenue) over (order by day, region rows between 6 preceding and current row) as week from daily_sales order by day, region limit 20
select customer_id, ordered_at, lag(ordered_at) over (partition by customer_id order by ordered_at, order_id) as previous from orders order by customer_id, ordered_at, order_id limit 20
select customer_id, datediff(day, lag(ordered_at) over (partition by customer_id order by ordered_at, order_id), ordered_at) as gap from orders qualify gap is not null order by 1, 2 limit 20
select order_id, ratio_to_report(amount) over (partition by region) as share from orders order by order_id limit 10
select order_id, ntile(10) over (order by amount, order_id) as decile from orders order by order_id limit 10
select order_id, dense_rank() over (partition by status order by region) as r from orders order by order_id limit 20
select order_id, first_value(amount) over (partition by customer_id order by ordered_at, order_id) as first_amount from orders order by order_id limit 20
select order_id, percent_rank() over (order by amount) as pr, cume_dist() over (order by amount) as cd from orders order by order_id limit 10
select region, sum(sum(amount)) over (order by region) as cumulative from orders group by region order by region
select order_id, count(*) over (partition by customer_id) as orders_of_customer from orders order by order_id limit 20
select order_id, amount - avg(amount) over (partition by region) as above from orders order by order_id limit 20
select product_id, category, price, max(price) over (partition by category) as top from products order by product_id
-- Conditions
select count(*) from orders where status in ('PAID', 'SHIPPED', 'DELIVERED')
select count(*) from orders where status not in ('CANCELLED') and region = 'EMEA'
select count(*) from orders where region is null or channel is null
select count(*) from customers where city like 'S%' or city ilike '%on'
select count(*) from customers where country = any (select 'US')
select count(*) from products where name rlike '.*[aeiou]$'
select count(*) from products where regexp_like(name, '^[A-K].*')
select count(*) from orders where not (status = 'CANCELLED' or amount < 10)
select count(*) from orders where amount between 100 and 200
select count(*) from orders where status is distinct from 'PAID'
select count(*) from customers where city like any ('B%', 'P%')
select count(*) from products where active and price < 50
select count(*) from products where coalesce(category, 'none') <> 'Toys'
select count(*) from customers where startswith(city, 'S') and endswith(city, 'o')
select count(*) from support_tickets where contains(lower(subject), 'refund')
-- Text and numbers
select upper(city), lower(country), length(city), initcap(lower(city)) from customers order by id limit 5
select city || ', ' || country as place, count(*) from customers group by place order by 2 desc, 1 limit 5
select split_part(name, ' ', 1) as brand, count(*) from products group by 1 order by 1
select substr(category, 1, 3) as c, left(category, 2), right(category, 2) from products group by all order by 1
select replace(category, 'Toys', 'Games') as c, count(*) from products group by 1 order by 1
select trim('  x  '), ltrim('xxa', 'x'), rtrim('axx', 'x'), lpad('7', 3, '0'), rpad('7', 3, '0')
select concat('a', 'b', 'c'), concat_ws('-', 'a', 'b'), repeat('ab', 2), reverse('abc')
select position('b' in 'abc'), charindex('c', 'abc'), regexp_replace('a1b2', '[0-9]', ''), regexp_substr('a1b2', '[0-9]')
select round(price), floor(price), ceil(price), trunc(price, 1), abs(-price) from products order by product_id limit 5
select round(avg(amount), 2), sqrt(16), power(2, 8), ln(1), exp(0), sign(-3) from orders
select to_number('12.50', 10, 2), to_varchar(12.5), 12::float / 5, '7'::int + 1, try_cast('x' as int)
select coalesce(null, 'a'), nvl(null, 'b'), nvl2(null, 'c', 'd'), nullif('a', 'a'), zeroifnull(null), ifnull(null, 1)
select greatest(1, 3, 2), least(1, 3, 2), decode(2, 1, 'a', 2, 'b', 'c'), iff(1 = 1, 'x', 'y')
select case when price < 20 then 'low' when price < 100 then 'middle' else 'high' end as band, count(*) from products group by band order by band
select floor(amount / 100) * 100 as bucket, count(*) from orders group by bucket order by bucket
select md5('x') = md5('x'), sha2('x', 256) = sha2('x', 256), hash('x') = hash('x')
select category, listagg(name, '; ') within group (order by name) as names from products group by category order by category
select product_id, price * 1.19 as gross, round(price * 1.19, 2) as rounded from products order by product_id limit 10
-- Set operations
select country from customers union select region from orders order by 1
select country as place, 'customer' as kind from customers group by 1 union all select region, 'order' from orders group by 1 order by 1, 2
select id from customers except select customer_id from orders order by 1
select id from customers intersect select customer_id from orders order by 1 limit 10
select id from customers minus select customer_id from orders order by 1
(select order_id from orders order by amount desc, order_id limit 2) union all (select order_id from orders order by amount, order_id limit 2)
select 1 as x union all select 2 union all select 3 order by x desc limit 2
-- Stars, places and names
select * from products order by product_id limit 5
select * exclude (price) from products order by product_id limit 5
select * rename (name as product) from products order by product_id limit 3
select * replace (upper(name) as name) from products order by product_id limit 3
select p.* from products p where p.active order by 1 limit 5
select o.*, i.quantity from orders o join order_items i on i.order_id = o.order_id order by o.order_id, i.line limit 5
select top 3 order_id from orders order by order_id
select distinct region, channel from orders order by region, channel
select order_id as "Order", amount as "Amount in $" from orders order by "Order" limit 3
select retail.public.orders.order_id from retail.public.orders order by 1 limit 3
select public.products.name from public.products order by 1 limit 3
select o.order_id from orders as o (order_id, customer) order by 1 limit 3
select count(*) from retail.staging.import_2024_old
select order_id, amount as a, a * 2 as doubled, doubled + 1 from orders order by order_id limit 3
select * from orders order by order_id limit 5 offset 10
select * from orders order by order_id fetch first 5 rows only
select order_id from orders order by all limit 3
-- Views
select * from daily_sales order by day, region limit 10
select region, sum(revenue) from daily_sales group by region order by region
select segment, sum(revenue) as r, avg(orders) from customer_revenue group by segment order by segment
select country, max(revenue) from customer_revenue group by country order by country
select customer_id, orders, revenue from customer_revenue where revenue > 500 order by revenue desc, customer_id limit 10
-- Semi-structured
select payload:device.os::string as os, count(*) from events group by 1 order by 1
select event_type, payload:campaign::string as campaign, count(*) from events group by 1, 2 order by 1, 2
select event_id, payload['device']['os']::string from events order by event_id limit 5
select e.event_id, f.value:sku::string as sku, f.value:qty::int as qty from events e, lateral flatten(input => e.payload:cart) f order by 1, 2 limit 10
select f.value:sku::string as sku, sum(f.value:qty::int) as n from events, lateral flatten(payload:cart) f group by sku order by n desc, sku limit 5
select count(*) from events where payload:cart is not null
select typeof(payload:device), count(*) from events group by 1 order by 1
select array_size(payload:cart) as items, count(*) from events group by 1 order by 1 nulls last
select parse_json('{"a": [1, 2]}'):a[1]::int
select object_construct('region', region, 'n', count(*)) as o from orders group by region order by region
select get_path(payload, 'device.os')::string as os, count(*) from events group by 1 order by 1
select array_contains('x'::variant, array_construct('x', 'y')), array_to_string(array_construct(1, 2), '-')
select seq, index, value from table(flatten(input => parse_json('[10, 20]'))) order by index
select count(*) from table(generator(rowcount => 10))
-- Pivot
select * from (select region, channel, amount from orders) pivot (sum(amount) for channel in ('WEB', 'STORE')) order by 1
select * from (select status, region, order_id from orders) pivot (count(order_id) for region in ('EMEA', 'AMER', 'APAC')) order by 1
select * from (select 'a' as k, 1 as x, 2 as y) unpivot (v for n in (x, y)) order by n
-- Masked columns among others
select id, email, city from customers order by id limit 10
select * from customers order by id limit 10
select name, count(*) as orders from customers c join orders o on o.customer_id = c.id group by c.id, name order by orders desc, c.id limit 10
select split_part(email, '@', 2) as domain, count(*) from customers group by 1 order by 1
select year(birth_date) as y, count(*) from customers group by y order by y
select country, count(distinct email) > 0 from customers group by country order by country
select c.id, c.email, t.subject from customers c join support_tickets t on t.customer_id = c.id order by t.ticket_id limit 10
select * from customer_revenue order by customer_id limit 10
select right(phone, 4), id from customers order by id limit 5
select id, case when birth_date < '1980-01-01' then 'old' else 'young' end as age, segment from customers order by id limit 10
select country, count(*) from customers where segment is not null group by country order by 1
select country, count(email), count(ssn) from customers group by country order by country
select id from customers where email like '%@example.com' order by id limit 10
select c.id, o.n from customers c join (select customer_id, count(*) as n from orders group by 1) o on o.customer_id = c.id order by c.id limit 10
select segment, avg(year(current_date) - year(birth_date)) > 0 from customers group by segment order by segment
select id, city from customers where id = 1
select * from support_tickets where priority = 'HIGH' order by ticket_id limit 5
select status, priority, count(*) from support_tickets group by 1, 2 order by 1, 2
-- Cohorts and retention
with f as (select customer_id, date_trunc('month', min(ordered_at)) as cohort from orders group by customer_id), a as (select distinct customer_id, date_trunc('month', ordered_at) as active from orders) select f.cohort, datediff(month, f.cohort, a.active) as n, count(distinct a.customer_id) as customers from f join a using (customer_id) group by all order by 1, 2
with f as (select customer_id, min(ordered_at) as t0 from orders group by 1) select count(distinct iff(o.ordered_at > dateadd(day, 30, f.t0), o.customer_id, null)) / count(distinct f.customer_id) as returned from f left join orders o on o.customer_id = f.customer_id
with m as (select customer_id, date_trunc('month', ordered_at) as m from orders group by 1, 2), n as (select *, lag(m) over (partition by customer_id order by m) as before from m) select m, count_if(before is null) as fresh, count_if(before = dateadd(month, -1, m)) as kept, count_if(before < dateadd(month, -1, m)) as back from n group by m order by m
with q as (select customer_id, sum(iff(year(ordered_at) = 2024, amount, 0)) as y1, sum(iff(year(ordered_at) = 2025, amount, 0)) as y2 from orders group by 1) select case when y1 > 0 and y2 = 0 then 'lost' when y1 = 0 and y2 > 0 then 'new' when y2 >= y1 then 'grown' else 'shrunk' end as state, count(*), round(sum(y2 - y1), 2) from q group by state order by state
-- Funnels and sessions
select count(distinct iff(status in ('PAID', 'SHIPPED', 'DELIVERED'), order_id, null)) as paid, count(distinct iff(status in ('SHIPPED', 'DELIVERED'), order_id, null)) as shipped, count(distinct iff(status = 'DELIVERED', order_id, null)) as delivered from orders
with s as (select customer_id, ordered_at, iff(datediff(day, lag(ordered_at) over (partition by customer_id order by ordered_at, order_id), ordered_at) <= 7, 0, 1) as starts, order_id from orders), n as (select *, sum(starts) over (partition by customer_id order by ordered_at, order_id rows between unbounded preceding and current row) as session from s) select customer_id, session, count(*) as orders, min(ordered_at), max(ordered_at) from n group by 1, 2 order by orders desc, 1, 2 limit 20
with step as (select customer_id, max(iff(channel = 'WEB', 1, 0)) as web, max(iff(channel = 'STORE', 1, 0)) as store from orders group by 1) select web, store, count(*) as customers, round(100 * ratio_to_report(count(*)) over (), 1) as share from step group by web, store order by 1, 2
with e as (select event_type, count(*) as n from events group by 1) select event_type, n, n / first_value(n) over (order by n desc, event_type) as of_first, n / nullif(lag(n) over (order by n desc, event_type), 0) as of_previous from e order by n desc, event_type
-- Date spines
with recursive d (day) as (select date '2024-01-01' union all select dateadd(day, 1, day)::date from d where day < '2024-01-31') select d.day, count(o.order_id) as orders, coalesce(sum(o.amount), 0) as revenue from d left join orders o on o.ordered_at::date = d.day group by d.day order by d.day
with n as (select row_number() over (order by order_id) - 1 as i from orders limit 12), spine as (select dateadd(month, i, date '2024-01-01')::date as m from n) select m, (select count(*) from orders where date_trunc('month', ordered_at)::date = m) as orders from spine order by m
with d as (select ordered_at::date as day, sum(amount) as r from orders group by 1) select day, r, sum(r) over (order by day rows between 27 preceding and current row) as month, r - lag(r, 7) over (order by day) as week_on_week from d order by day desc limit 30
select dayofweek(ordered_at) as dow, hour(ordered_at) as h, count(*) as n from orders group by 1, 2 qualify row_number() over (partition by dow order by n desc, h) = 1 order by dow
-- Latest, first and best per group
select * from orders qualify row_number() over (partition by customer_id order by ordered_at desc, order_id desc) = 1 order by customer_id limit 20
select region, channel, r from (select region, channel, sum(amount) as r, rank() over (partition by region order by sum(amount) desc) as k from orders group by region, channel) where k = 1 order by region
select max_by(order_id, amount) is not null, min_by(order_id, amount) is not null from orders
select p.category, p.name, s.q from products p join (select product_id, sum(quantity) as q from order_items group by 1) s on s.product_id = p.product_id qualify dense_rank() over (partition by p.category order by s.q desc) <= 2 order by 1, 3 desc, 2
select c.id, c.country, l.order_id, l.amount from customers c, lateral (select o.order_id, o.amount from orders o where o.customer_id = c.id order by o.amount desc, o.order_id limit 1) l order by c.id limit 20
-- Distributions
select region, percentile_cont(0.25) within group (order by amount) as q1, median(amount) as q2, percentile_cont(0.75) within group (order by amount) as q3 from orders group by region order by region
with b as (select percentile_cont(0.99) within group (order by amount) as hi from orders) select count(*) from orders, b where amount > b.hi
with s as (select avg(amount) as m, stddev(amount) as sd from orders) select count_if(abs(amount - m) > 2 * sd) as outliers, count(*) as n from orders cross join s
select region, corr(amount, hour(ordered_at)) is null as flat from orders group by 1 order by 1
with r as (select amount, ntile(10) over (order by amount, order_id) as d from orders) select d, sum(amount) as s, round(sum(sum(amount)) over (order by d) / sum(sum(amount)) over (), 4) as lorenz from r group by d order by d
-- Customers by value
with r as (select customer_id, datediff(day, max(ordered_at), '2026-01-01'::timestamp) as recency, count(*) as frequency, sum(amount) as monetary from orders group by 1), s as (select *, ntile(5) over (order by recency desc, customer_id) as rs, ntile(5) over (order by frequency, customer_id) as fs, ntile(5) over (order by monetary, customer_id) as ms from r) select rs || fs || ms as cell, count(*) as n from s group by cell order by n desc, cell limit 20
with s as (select customer_id, sum(amount) as spent from orders group by 1), r as (select spent, sum(spent) over (order by spent desc, customer_id rows unbounded preceding) / sum(spent) over () as share from s) select count_if(share <= 0.8) as few, count(*) as all_of_them from r
select c.segment, c.country, count(distinct o.customer_id) as buyers, round(sum(o.amount) / nullif(count(distinct o.customer_id), 0), 2) as per_buyer from customers c join orders o on o.customer_id = c.id group by grouping sets ((c.segment), (c.country), ()) order by 1 nulls last, 2 nulls last
select c.country, round(avg(t.n), 2) as tickets from customers c left join (select customer_id, count(*) as n from support_tickets group by 1) t on t.customer_id = c.id group by 1 having count(*) > 3 order by 2 desc nulls last, 1
-- Baskets
select a.product_id as x, b.product_id as y, count(*) as together from order_items a join order_items b on a.order_id = b.order_id and a.product_id < b.product_id group by 1, 2 having count(*) > 1 order by together desc, x, y limit 20
with b as (select o.order_id, count(*) as lines, sum(i.quantity * i.unit_price) as total from orders o join order_items i on i.order_id = o.order_id group by 1) select lines, count(*) as orders, round(avg(total), 2) as average from b group by lines order by lines
select o.order_id, o.amount, sum(i.quantity * i.unit_price) as lines, o.amount - sum(i.quantity * i.unit_price) as off from orders o join order_items i using (order_id) group by 1, 2 having off <> 0 order by abs(off) desc, 1 limit 10
-- Semi-structured, deeper
select e.payload:device.os::string as os, count(distinct e.event_id) as events, sum(f.value:qty::int) as items from events e, lateral flatten(input => e.payload:cart, outer => true) f group by os order by os
select coalesce(try_cast(payload:cart[0].qty::string as int), 0) as q, count(*) from events group by q order by q
select event_type, array_agg(distinct payload:device.os::string) is not null as seen, count_if(payload:campaign is null) as without from events group by 1 order by 1
select object_construct('type', event_type, 'n', count(*), 'os', min(payload:device.os::string)) as summary from events group by event_type order by event_type
-- Crosstabs
select * from (select date_trunc('quarter', ordered_at)::date as q, status, amount from orders) pivot (sum(amount) for status in ('PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')) as p (q, paid, shipped, delivered, cancelled) order by q
select region, sum(iff(channel = 'WEB', amount, 0)) as web, sum(iff(channel = 'STORE', amount, 0)) as store, sum(iff(channel not in ('WEB', 'STORE'), amount, 0)) as other, sum(amount) as total from orders group by region order by region
select metric, value from (select count(*)::float as orders, sum(amount)::float as revenue, avg(amount)::float as average from orders) unpivot (value for metric in (orders, revenue, average)) order by metric
-- The nearest in time
select t.ticket_id, (select max(o.ordered_at) from orders o where o.customer_id = t.customer_id and o.ordered_at <= t.opened_at) as last_order from support_tickets t order by t.ticket_id limit 20
select t.ticket_id, o.order_id from support_tickets t left join orders o on o.customer_id = t.customer_id and o.ordered_at <= t.opened_at qualify row_number() over (partition by t.ticket_id order by o.ordered_at desc nulls last, o.order_id) = 1 order by 1 limit 20
-- Quality of the data
select count(*) as n, count(distinct order_id) as keys, count_if(amount is null) as no_amount, count_if(amount < 0) as negative, min(ordered_at), max(ordered_at) from orders
select 'orders without customer' as finding, count(*) as n from orders o where not exists (select 1 from customers c where c.id = o.customer_id) union all select 'items without order', count(*) from order_items i where not exists (select 1 from orders o where o.order_id = i.order_id) union all select 'negative prices', count(*) from products where price < 0 order by 1
select customer_id, ordered_at, amount, count(*) as n from orders group by 1, 2, 3 having count(*) > 1 order by n desc, 1 limit 10
select city, count(*) as n, array_to_string(array_agg(distinct country), ',') is not null as ok from customers group by city having count(distinct country) > 1 order by n desc, city limit 10
-- Work in staging
create table staging.top_customers as select customer_id, sum(amount) as spent from orders group by customer_id
select count(*), max(spent) from staging.top_customers
insert into staging.top_customers (customer_id, spent) values (0, 1), (-1, 2)
update staging.top_customers set spent = spent + 1 where customer_id <= 0
delete from staging.top_customers where customer_id < 0
merge into staging.top_customers t using (select customer_id, count(*) as n from orders group by 1) s on t.customer_id = s.customer_id when matched then update set spent = s.n when not matched then insert (customer_id, spent) values (s.customer_id, s.n)
select sum(spent) from staging.top_customers
create view staging.spending as select spent from staging.top_customers
select count(*) from staging.spending
alter table staging.top_customers add column note varchar
