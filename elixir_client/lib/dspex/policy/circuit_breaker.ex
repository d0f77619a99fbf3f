defmodule DSPex.Policy.CircuitBreaker do
  @moduledoc """
  When to stop asking something that keeps failing. Pure: the caller brings the time, in milliseconds.

      closed ──`failures` in a row──► open ──`open_ms` later──► half-open ──success──► closed
                                       ▲                            │
                                       └──────────failure───────────┘

  Open, nobody passes. Half-open, one caller passes at a time: the probe. A probe that tells nothing within `open_ms` is
  forgotten, and the next caller is one.
  """

  defstruct failures: 10, open_ms: 5_000, count: 0, opened_at: nil, probe_at: nil

  @type t :: %__MODULE__{
          failures: pos_integer,
          open_ms: pos_integer,
          count: non_neg_integer,
          opened_at: integer | nil,
          probe_at: integer | nil
        }
  @type state :: :closed | :open | :half_open

  @doc """
  A closed one. Options: `:failures` in a row that open it, `:open_ms` until a probe is let through.

      iex> DSPex.Policy.CircuitBreaker.new(failures: 3).failures
      3
  """
  @spec new(keyword) :: t
  def new(options \\ []), do: struct!(__MODULE__, options)

  @doc "The state at a time."
  @spec state(t, integer) :: state
  def state(%__MODULE__{opened_at: nil}, _now), do: :closed

  def state(%__MODULE__{} = breaker, now),
    do: if(now < breaker.opened_at + breaker.open_ms, do: :open, else: :half_open)

  @doc """
  Whether a call may pass now: `:ok`, `{:probe, breaker}`, or `{:open, left}` with the milliseconds until it is worth asking
  again.

      iex> alias DSPex.Policy.CircuitBreaker
      iex> open = CircuitBreaker.failure(CircuitBreaker.new(failures: 1, open_ms: 50), 1_000)
      iex> CircuitBreaker.ask(open, 1_020)
      {:open, 30}
      iex> {:probe, probing} = CircuitBreaker.ask(open, 1_050)
      iex> CircuitBreaker.ask(probing, 1_051)
      {:open, 49}
      iex> CircuitBreaker.ask(CircuitBreaker.success(probing, 1_052), 1_052)
      :ok
  """
  @spec ask(t, integer) :: :ok | {:probe, t} | {:open, pos_integer}
  def ask(%__MODULE__{opened_at: nil}, _now), do: :ok

  def ask(%__MODULE__{} = breaker, now) do
    case max(breaker.opened_at, breaker.probe_at || breaker.opened_at) + breaker.open_ms - now do
      left when left > 0 -> {:open, left}
      _passed -> {:probe, %{breaker | probe_at: now}}
    end
  end

  @doc "A call went well. One that began before the breaker opened does not close it."
  @spec success(t, integer) :: t
  def success(breaker, now) do
    if state(breaker, now) == :open, do: breaker, else: %{breaker | count: 0, opened_at: nil, probe_at: nil}
  end

  @doc "A call failed in a way that the breaker counts."
  @spec failure(t, integer) :: t
  def failure(%__MODULE__{} = breaker, now) do
    breaker = %{breaker | count: breaker.count + 1}

    case state(breaker, now) do
      :closed when breaker.count >= breaker.failures -> %{breaker | opened_at: now}
      :half_open -> %{breaker | opened_at: now, probe_at: nil}
      _closed_or_open -> breaker
    end
  end

  @doc "A call ended without telling anything: if it was the probe, the next one is."
  @spec neutral(t) :: t
  def neutral(%__MODULE__{} = breaker), do: %{breaker | probe_at: nil}
end
