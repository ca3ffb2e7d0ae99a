-- Slowest models of the last day.
SELECT model, percentile_cont(0.99) WITHIN GROUP (ORDER BY milliseconds) AS p99, count(*) AS requests
FROM inferences
WHERE started_at > now() - interval '1 day'
GROUP BY model
HAVING count(*) > 100
ORDER BY p99 DESC
LIMIT 10;
