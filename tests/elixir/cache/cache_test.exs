defmodule DSPex.CacheTest do
  use ExUnit.Case, async: true

  alias DSPex.Cache

  doctest DSPex.Cache

  @moduletag req: ["EX-7", "NFR1.2.1"]

  setup context do
    options = Keyword.merge([name: Module.concat(__MODULE__, "T#{context.line}")], context[:cache] || [])
    start_supervised!({Cache, options})
    {:ok, cache: options[:name]}
  end

  defp worker(cache, key, test) do
    Task.async(fn ->
      Cache.fetch(cache, key, fn ->
        send(test, {:working, self()})
        receive do: ({:finish, result} -> result)
      end)
    end)
  end

  # A call to the cache's process comes back after every message that was sent to it before.
  defp waiting(cache, count) do
    flights = :sys.get_state(cache).flights

    found =
      flights.by_key |> Map.values() |> Enum.map(fn {_leader, _monitor, waiting} -> length(waiting) end) |> Enum.sum()

    if found < count, do: waiting(cache, count), else: :ok
  end

  test "the second fetch is a hit, and does not run the work", %{cache: cache} do
    assert Cache.fetch(cache, :k, fn -> {:ok, 1} end) == {{:ok, 1}, :miss}
    assert Cache.fetch(cache, :k, fn -> flunk("not a hit") end) == {{:ok, 1}, :hit}
    assert %{hits: 1, misses: 1, entries: 1} = Cache.stats(cache)
  end

  test "errors are given on and not kept", %{cache: cache} do
    assert Cache.fetch(cache, :k, fn -> {:error, :no} end) == {{:error, :no}, :miss}
    assert Cache.get(cache, :k) == :error
  end

  test "of many who miss at once one works, and all get its result", %{cache: cache} do
    leader = worker(cache, :k, self())
    assert_receive {:working, pid}
    others = for _n <- 1..20, do: Task.async(fn -> Cache.fetch(cache, :k, fn -> flunk("worked twice") end) end)
    waiting(cache, 20)
    send(pid, {:finish, {:ok, 7}})
    assert Task.await(leader) == {{:ok, 7}, :miss}
    assert Task.await_many(others) == List.duplicate({{:ok, 7}, :joined}, 20)
  end

  test "when the one who works dies, the next takes over", %{cache: cache} do
    {:ok, first} = Task.start(fn -> Cache.fetch(cache, :k, fn -> receive do: (:never -> :ok) end) end)
    waiting_for_leader(cache)
    second = worker(cache, :k, self())
    waiting(cache, 1)
    Process.exit(first, :kill)
    assert_receive {:working, pid}
    send(pid, {:finish, {:ok, 2}})
    assert Task.await(second) == {{:ok, 2}, :miss}
  end

  test "work that raises tells those who wait, and raises where it ran", %{cache: cache} do
    leader =
      Task.async(fn ->
        assert_raise RuntimeError, fn -> Cache.fetch(cache, :k, fn -> receive do: (:go -> raise "boom") end) end
      end)

    waiting_for_leader(cache)
    other = worker(cache, :k, self())
    waiting(cache, 1)
    send(leader.pid, :go)
    assert {{:error, %DSPex.Error{reason: :internal}}, :joined} = Task.await(other)
    Task.await(leader)
  end

  test "waiting for another's work ends at the timeout", %{cache: cache} do
    leader = worker(cache, :k, self())
    assert_receive {:working, pid}
    assert {{:error, %DSPex.Error{reason: :timeout}}, :joined} = Cache.fetch(cache, :k, fn -> flunk("led") end, 1)
    send(pid, {:finish, {:ok, 1}})
    assert Task.await(leader) == {{:ok, 1}, :miss}
  end

  @tag cache: [max_entries: 3]
  test "the entry that nobody read since the last round goes first", %{cache: cache} do
    for key <- [:a, :b, :c], do: assert(Cache.put(cache, key, key))
    assert Cache.get(cache, :a) == {:ok, :a}
    Cache.put(cache, :d, :d)
    assert Cache.get(cache, :b) == :error
    assert for(key <- [:a, :c, :d], do: Cache.get(cache, key)) == [{:ok, :a}, {:ok, :c}, {:ok, :d}]
    assert %{entries: 3, evictions: 1} = Cache.stats(cache)
  end

  @tag cache: [max_bytes: 1_000]
  test "bytes are bounded: others go for a new one, and one that is too large is not kept", %{cache: cache} do
    for n <- 1..50, do: Cache.put(cache, n, String.duplicate("x", 100))
    stats = Cache.stats(cache)
    assert stats.bytes <= 1_000 and stats.entries in 5..9
    refute Cache.put(cache, :large, String.duplicate("x", 2_000))
  end

  @tag cache: [ttl: 0]
  test "an entry past its time is no hit", %{cache: cache} do
    Cache.put(cache, :k, 1)
    assert Cache.get(cache, :k) == :error
    assert Cache.fetch(cache, :k, fn -> {:ok, 2} end) == {{:ok, 2}, :miss}
  end

  test "programs and tenants are cleared apart", %{cache: cache} do
    keys = for program <- ["p", "q"], tenant <- ["t", "u"], do: Cache.key(program: program, tenant: tenant, inputs: %{})
    for key <- keys, do: Cache.put(cache, key, 1)
    assert Cache.clear(cache, {:program, "p"}) == 2
    assert Cache.clear(cache, {:tenant, "t"}) == 1
    assert Cache.clear(cache) == 1
    assert Cache.stats(cache).bytes == 0
  end

  test "a key that is written again and again leaves nothing behind", %{cache: cache} do
    for n <- 1..1_000, do: Cache.put(cache, :k, n)
    state = :sys.get_state(cache)
    assert state.queued < 100
    assert Cache.get(cache, :k) == {:ok, 1_000}
  end

  defp waiting_for_leader(cache) do
    if :sys.get_state(cache).flights.by_key == %{}, do: waiting_for_leader(cache), else: :ok
  end
end
