defmodule DSPex.Policy.Backoff do
  @moduledoc """
  How long to wait before the next attempt: doubling from `first` up to `most` milliseconds, with jitter. Pure.
  """

  defstruct first: 100, most: 10_000, attempt: 0

  @type t :: %__MODULE__{first: pos_integer, most: pos_integer, attempt: non_neg_integer}

  @doc """
  A fresh one. Options: `:first` and `:most` in milliseconds.

      iex> DSPex.Policy.Backoff.new(first: 10, most: 50).first
      10
  """
  @spec new(keyword) :: t
  def new(options \\ []), do: struct!(__MODULE__, options)

  @doc """
  The next delay in milliseconds. `random` is a number from 0 to 1; the delay lies between half and all of the step.

      iex> backoff = DSPex.Policy.Backoff.new(first: 100, most: 300)
      iex> {100, backoff} = DSPex.Policy.Backoff.next(backoff, 1.0)
      iex> {100, backoff} = DSPex.Policy.Backoff.next(backoff, 0.0)
      iex> {delay, _backoff} = DSPex.Policy.Backoff.next(backoff, 1.0)
      iex> delay
      300
  """
  @spec next(t, float) :: {pos_integer, t}
  def next(%__MODULE__{} = backoff, random \\ :rand.uniform()) do
    step = min(backoff.first * Integer.pow(2, min(backoff.attempt, 30)), backoff.most)
    {max(1, round(step * (0.5 + random / 2))), %{backoff | attempt: backoff.attempt + 1}}
  end

  @doc "Back to the start, after a success."
  @spec reset(t) :: t
  def reset(%__MODULE__{} = backoff), do: %{backoff | attempt: 0}
end
