defmodule DSPex.Policy.Pace do
  @moduledoc """
  How fast a queue moves: a decayed average of the time between two of its places, and what a newcomer would wait by it.
  Pure: the caller brings the time, in milliseconds.
  """

  @weight 0.2
  @stale 10

  defstruct [:interval, :last]

  @type t :: %__MODULE__{interval: float | nil, last: integer | nil}

  @doc "Nothing is known yet."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Somebody got a place while others waited."
  @spec step(t, integer) :: t
  def step(%__MODULE__{last: nil} = pace, now), do: %{pace | last: now}
  def step(%__MODULE__{interval: nil, last: last}, now), do: %__MODULE__{interval: (now - last) / 1, last: now}

  def step(%__MODULE__{interval: interval, last: last}, now),
    do: %__MODULE__{interval: interval + @weight * (now - last - interval), last: now}

  @doc "Nobody waits any more: the time until the next place says nothing of the pace."
  @spec pause(t) :: t
  def pause(%__MODULE__{} = pace), do: %{pace | last: nil}

  @doc """
  What somebody with `ahead` others before him would wait, or nil when that cannot be said: nothing is known, or the queue
  stands still for so long that the average is worth nothing.

      iex> alias DSPex.Policy.Pace
      iex> pace = Pace.new() |> Pace.step(0) |> Pace.step(100)
      iex> {Pace.wait(pace, 3, 150), Pace.wait(pace, 0, 150), Pace.wait(pace, 3, 5_000)}
      {300, 0, nil}
      iex> Pace.wait(Pace.new(), 3, 0)
      nil
  """
  @spec wait(t, non_neg_integer, integer) :: non_neg_integer | nil
  def wait(%__MODULE__{interval: nil}, _ahead, _now), do: nil
  def wait(%__MODULE__{last: nil}, _ahead, _now), do: nil

  def wait(%__MODULE__{interval: interval, last: last}, ahead, now) do
    if now - last > max(1_000, @stale * interval), do: nil, else: round(ahead * interval)
  end
end
