create table item (id integer primary key, kind integer, name text, price real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into item select i, i * 7919 % 100, printf('item-%06d', i * 31 % 60000), i * 0.25 from n;
create index by_kind on item (kind, price);
create index by_name on item (name);
select kind, count(*), sum(price), min(name) from item group by kind order by sum(price) limit 10;
select count(*) from item a join item b on b.name = printf('item-%06d', a.id) where a.kind < 20;
update item set price = price + 1 where kind = 3;
select sum(price), max(length(name)) from item where name like '%99%';
