defmodule DSPex.Breaker do
  @moduledoc """
  The circuit breakers of an instance: one for each pool, and one for each LM of a pool or of Elixir's own. They are rows of
  the instance's table, read and changed in the callers' processes; no process stands between a call and its worker.

  A pool's breaker counts deaths of workers with calls in flight: a hundred calls that are lost with one worker are one
  failure. An LM's counts errors of the LM that may be retried: rate limits, failures of its server, lost connections. An
  answer sets the count back. While a breaker is open, calls are `:unavailable` at once, with `retry_after`; where the other
  side can run them, the router sends them there.

      {:ok, table} = DSPex.Instance.table(MyApp.DSPex)
      DSPex.Breaker.state(table, {:pool, :default})
      #=> :closed

  Options of a pool: `breaker: [failures: 10, open_ms: 5_000]` for both, or `breaker: false`.
  """

  alias DSPex.Error
  alias DSPex.Policy.CircuitBreaker
  alias DSPex.Telemetry

  @type scope :: {:pool, atom} | {:lm, atom | nil, String.t()}

  @doc "The state of a breaker."
  @spec state(:ets.table(), scope) :: CircuitBreaker.state()
  def state(table, scope) do
    case lookup(table, scope) do
      nil -> :closed
      breaker -> CircuitBreaker.state(breaker, now())
    end
  end

  @doc "Whether a call may pass now; if not, the error that it gets."
  @spec check(:ets.table(), scope) :: :ok | {:error, Error.t()}
  def check(table, scope) do
    case lookup(table, scope) do
      nil -> :ok
      %CircuitBreaker{opened_at: nil} -> :ok
      breaker -> ask(table, scope, breaker)
    end
  end

  # A call may outlive its instance, whose table is gone then: nobody asks for its breakers any more.
  defp told(function) do
    function.()
  rescue
    ArgumentError -> :ok
  end

  @doc "A call got an answer."
  @spec success(:ets.table(), scope) :: :ok
  def success(table, scope), do: told(fn -> succeeded(table, scope) end)

  defp succeeded(table, scope) do
    case lookup(table, scope) do
      nil -> :ok
      # The usual case: nothing to write.
      %CircuitBreaker{count: 0} -> :ok
      _breaker -> update(table, scope, &CircuitBreaker.success(&1, now()), "")
    end
  end

  @doc "A failure that counts; `cause` is told to those who are refused."
  @spec failure(:ets.table(), scope, String.t()) :: :ok
  def failure(table, scope, cause), do: told(fn -> failed(table, scope, cause) end)

  defp failed(table, scope, cause) do
    with nil <- lookup(table, scope), do: :ets.insert_new(table, {key(scope), fresh(table, scope), ""})
    update(table, scope, &CircuitBreaker.failure(&1, now()), cause)
  end

  @doc "A call ended without an answer that tells anything."
  @spec neutral(:ets.table(), scope) :: :ok
  def neutral(table, scope), do: told(fn -> gave_up(table, scope) end)

  defp gave_up(table, scope) do
    case lookup(table, scope) do
      %CircuitBreaker{probe_at: probe} when probe != nil -> update(table, scope, &CircuitBreaker.neutral/1, "")
      _no_probe -> :ok
    end
  end

  @doc "Counts the outcome of a call for the breaker of its LM; an error that is nil stands for a call that was given up."
  @spec lm_outcome(:ets.table(), scope, {:ok, term} | {:error, Error.t() | nil}) :: :ok
  def lm_outcome(table, scope, {:ok, _answer}), do: success(table, scope)

  def lm_outcome(table, scope, {:error, %Error{reason: :lm_error, retryable?: true} = error}),
    do: failure(table, scope, error.message)

  def lm_outcome(table, scope, {:error, _other}), do: neutral(table, scope)

  defp ask(table, scope, breaker) do
    case CircuitBreaker.ask(breaker, now()) do
      :ok ->
        :ok

      {:open, left} ->
        {:error, refusal(table, scope, breaker, left)}

      {:probe, probing} ->
        # Of several callers at this moment one becomes the probe.
        if swap(table, scope, breaker, probing) do
          emit(table, scope, :half_open, probing, cause(table, scope))
          :ok
        else
          check(table, scope)
        end
    end
  end

  defp refusal(table, scope, breaker, left) do
    text =
      "#{name(scope)} failed #{breaker.count} times in a row; calls are refused for #{left} ms more. " <>
        "The last failure: #{cause(table, scope)}"

    Error.new(:unavailable, text, retry_after: Float.ceil(left / 1000, 3), details: %{"breaker" => "open"})
  end

  defp update(table, scope, change, cause) do
    with %CircuitBreaker{} = old <- lookup(table, scope),
         new when new != old <- change.(old) do
      if swap(table, scope, old, new),
        do: changed(table, scope, old, new, cause),
        else: update(table, scope, change, cause)
    else
      _absent_or_same -> :ok
    end
  end

  # The row as it was read must still be there: what an object of a table is compared with is a guard, not a pattern.
  defp swap(table, scope, old, new) do
    key = key(scope)
    guard = {:"=:=", :"$1", {:const, old}}
    1 == :ets.select_replace(table, [{{key, :"$1", :"$2"}, [guard], [{{{:const, key}, {:const, new}, :"$2"}}]}])
  end

  defp changed(table, scope, old, new, cause) do
    if cause != "", do: :ets.update_element(table, key(scope), {3, String.slice(cause, 0, 500)})

    cond do
      new.opened_at != nil and new.opened_at != old.opened_at -> emit(table, scope, :open, new, cause)
      new.opened_at == nil and old.opened_at != nil -> emit(table, scope, :close, new, cause)
      true -> :ok
    end
  end

  defp emit(table, scope, event, breaker, cause) do
    {pool, lm} = with {:pool, pool} <- scope, do: {pool, nil}, else: ({:lm, pool, lm} -> {pool, lm})
    metadata = %{instance: instance(table), pool: pool, lm: lm, cause: cause}
    Telemetry.execute([:dspex, :breaker, event], %{failures: breaker.count}, metadata)
  end

  # A breaker that is off opens after more failures than there will be.
  defp fresh(table, scope) do
    case options(table, elem(scope, 1)) do
      false -> CircuitBreaker.new(failures: 1_000_000_000)
      options -> CircuitBreaker.new(options)
    end
  end

  defp options(_table, nil), do: []

  defp options(table, pool) do
    case :ets.lookup(table, {:pool, pool}) do
      [{_key, row}] -> Keyword.get(row.options, :breaker, [])
      [] -> []
    end
  end

  defp lookup(table, scope) do
    case :ets.lookup(table, key(scope)) do
      [{_key, breaker, _cause}] -> breaker
      [] -> nil
    end
  end

  defp cause(table, scope), do: :ets.lookup_element(table, key(scope), 3)

  defp instance(table) do
    case :ets.lookup(table, :instance) do
      [{:instance, name}] -> name
      [] -> nil
    end
  end

  defp name({:pool, pool}), do: "pool #{pool}: its workers"
  defp name({:lm, nil, lm}), do: "the LM #{lm}, asked by Elixir,"
  defp name({:lm, pool, lm}), do: "the LM #{lm} of pool #{pool}"

  defp key(scope), do: {:breaker, scope}
  defp now, do: System.monotonic_time(:millisecond)
end
